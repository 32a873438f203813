"""The gate of model calls, shared by all processes: circuit breaker, provider's pause, and rate limits."""

import math
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import redis

from orchestrator.connections.redis_client import Availability
from orchestrator.process.fixed_window import FixedWindow

T = TypeVar("T")

_MINUTE = 60.0
_RETRY_REDIS_SECONDS = 5.0
_PROBE_GRACE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 300.0
"""Longer Retry-After values are capped; the next call receives them again."""


@dataclass(frozen=True)
class Policy:
    """A breaker opens for `open_seconds` after `failures` in `window_seconds`; `probe_seconds` end a lost probe."""

    failures: int = 5
    window_seconds: float = 60.0
    open_seconds: float = 30.0
    probe_seconds: float = 60.0


def policy_for(timeout_seconds: float) -> Policy:
    """Return the default policy for calls with this timeout; a probe is lost only after the timeout."""
    return Policy(probe_seconds=max(Policy.probe_seconds, timeout_seconds + _PROBE_GRACE_SECONDS))


@dataclass(frozen=True)
class Rates:
    """Requests and tokens per minute; None means no limit."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class CallTicket:
    """A call that asks for admission: `model` is ModelEndpoint.key, `tokens` the estimated usage."""

    model: str
    rates: Rates
    tokens: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Admission:
    """The answer to a call: `reason` is admitted or probe, or if refused paused, open, probing, requests or tokens.

    `breaker` is the breaker's state: closed, half_open or open.
    """

    reason: str
    wait_seconds: float
    breaker: str

    @property
    def is_admitted(self) -> bool:
        """Tell whether the call may be made."""
        return self.reason in ("admitted", "probe")


@dataclass(frozen=True)
class CallOutcome:
    """The outcome of an admitted call: `kind` is alive, failed or abandoned (never sent), `tokens` the actual usage."""

    kind: str
    tokens: int | None = None
    pause_seconds: float = 0.0


class Gate(Protocol):
    """Admits calls by the models' breakers, pauses and rate limits."""

    def admit(self, ticket: CallTicket, *, must: bool = False) -> Admission:
        """Tell whether the call may be made, and count it if so; `must` ignores the rate limits only."""
        ...

    def report(self, ticket: CallTicket, outcome: CallOutcome) -> str:
        """Record the outcome of an admitted call; return the breaker's state."""
        ...


class RedisGate:
    """The gate that all processes share in Redis. Raises RedisError."""

    def __init__(self, client: redis.Redis, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text("utf-8"))

    def admit(self, ticket: CallTicket, *, must: bool = False) -> Admission:
        """Tell whether the call may be made, and count it if so."""
        rates = ticket.rates
        limits = (rates.requests or 0, rates.tokens or 0, ticket.tokens, int(must))
        reason, wait, breaker = self._run(
            ticket.model, "admit", ticket.id, self._policy.probe_seconds, *limits
        )
        return Admission(reason, float(wait), breaker)

    def report(self, ticket: CallTicket, outcome: CallOutcome) -> str:
        """Record the outcome of an admitted call; return the breaker's state."""
        policy, rates = self._policy, ticket.rates
        used = 0 if outcome.kind == "abandoned" else outcome.tokens
        difference = 0 if used is None else used - ticket.tokens
        return self._run(
            ticket.model,
            "report",
            ticket.id,
            outcome.kind,
            policy.failures,
            policy.window_seconds,
            policy.open_seconds,
            min(outcome.pause_seconds, LONGEST_PAUSE_SECONDS),
            rates.requests or 0,
            int(outcome.kind == "abandoned"),
            rates.tokens or 0,
            difference,
        )[2]

    def _run(self, model: str, *arguments: str | float) -> tuple[str, str, str]:
        keys = [f"octollm:llm:{{{model}}}", f"octollm:llm:{{{model}}}:failures"]
        answer = self._script(keys=keys, args=list(arguments))
        reason, wait, breaker = (part.decode() if isinstance(part, bytes) else str(part) for part in answer)
        return reason, wait, breaker


@dataclass
class _LocalCounts:
    """This process's counts for one model while Redis is away."""

    requests: FixedWindow = field(default_factory=lambda: FixedWindow(_MINUTE))
    tokens: FixedWindow = field(default_factory=lambda: FixedWindow(_MINUTE))
    failures_in_a_row: int = 0
    failed_at: float = -math.inf
    open_until: float = 0.0
    pause_until: float = 0.0

    def breaker(self, now: float) -> str:
        return "open" if now < self.open_until else "closed"


class FallbackGate:
    """The gate of one process while Redis is away, simpler than the shared one.

    Each process admits the rates' worth of calls in a fixed window of a minute, so N processes admit at most N times
    the rates. `Policy.failures` failed calls in a row, none more than `window_seconds` after the one before, stop calls
    to the model for `open_seconds`; after that they are admitted again, without a probe. A provider's pause is kept.
    Counts start at zero, without those of the shared gate.
    """

    def __init__(self, policy: Policy | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy or Policy()
        self._clock = clock
        self._uses: defaultdict[str, _LocalCounts] = defaultdict(_LocalCounts)
        self._lock = threading.Lock()

    def admit(self, ticket: CallTicket, *, must: bool = False) -> Admission:
        """Tell whether the call may be made, and count it if so."""
        with self._lock:
            uses, now = self._uses[ticket.model], self._clock()
            breaker = uses.breaker(now)
            if now < uses.pause_until:
                return Admission("paused", uses.pause_until - now, breaker)
            if now < uses.open_until:
                return Admission("open", uses.open_until - now, breaker)
            if not _take(uses.requests, 1, limit=ticket.rates.requests, now=now, must=must):
                return Admission("requests", uses.requests.seconds_left(now), breaker)
            if not _take(uses.tokens, ticket.tokens, limit=ticket.rates.tokens, now=now, must=must):
                uses.requests.correct(-1)
                return Admission("tokens", uses.tokens.seconds_left(now), breaker)
            return Admission("admitted", 0.0, breaker)

    def report(self, ticket: CallTicket, outcome: CallOutcome) -> str:
        """Record the outcome of an admitted call; return the breaker's state."""
        with self._lock:
            uses, now = self._uses[ticket.model], self._clock()
            is_abandoned = outcome.kind == "abandoned"
            if outcome.kind == "alive":
                uses.failures_in_a_row = 0
            elif outcome.kind == "failed":
                # an outage of Redis may be long past, and its failures too
                is_recent = now - uses.failed_at <= self._policy.window_seconds
                uses.failures_in_a_row = uses.failures_in_a_row + 1 if is_recent else 1
                uses.failed_at = now
            if uses.failures_in_a_row >= self._policy.failures:
                uses.failures_in_a_row, uses.open_until = 0, now + self._policy.open_seconds
            pause = min(outcome.pause_seconds, LONGEST_PAUSE_SECONDS)
            uses.pause_until = max(uses.pause_until, now + pause)
            uses.requests.correct(-1 if is_abandoned else 0)
            used = 0 if is_abandoned else outcome.tokens
            uses.tokens.correct(0 if used is None else used - ticket.tokens)
            return uses.breaker(now)


class SharedGate:
    """The Redis gate; while Redis is away, the process's FallbackGate."""

    def __init__(self, client: redis.Redis, policy: Policy | None = None) -> None:
        self._shared = RedisGate(client, policy)
        self._fallback = FallbackGate(policy)
        self._availability = Availability(pause_seconds=_RETRY_REDIS_SECONDS)

    def admit(self, ticket: CallTicket, *, must: bool = False) -> Admission:
        """Tell whether the call may be made, and count it if so."""
        return self._either(lambda gate: gate.admit(ticket, must=must))

    def report(self, ticket: CallTicket, outcome: CallOutcome) -> str:
        """Record the outcome of an admitted call; return the breaker's state."""
        return self._either(lambda gate: gate.report(ticket, outcome))

    def _either(self, work: Callable[[Gate], T]) -> T:
        found = self._availability.attempt(lambda: work(self._shared), event="gate.redis_away")
        return work(self._fallback) if found is None else found


def _take(window: FixedWindow, amount: int, *, limit: int | None, now: float, must: bool) -> bool:
    """Take from a minute's window; a call larger than a whole minute's limit takes all of it."""
    return not limit or window.take(min(amount, limit), limit=math.inf if must else limit, now=now)

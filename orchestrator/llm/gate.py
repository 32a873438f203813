"""Decides whether a model may be called now: its breaker, its provider's pause, its rates; shared by all processes."""

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
"""What a provider may ask of everyone at once; a longer wish is heard again by the next call."""


@dataclass(frozen=True)
class Policy:
    """A breaker opens at `failures` within `window_seconds`, for `open_seconds`; a probe is lost after its own."""

    failures: int = 5
    window_seconds: float = 60.0
    open_seconds: float = 30.0
    probe_seconds: float = 60.0


def policy_for(timeout_seconds: float) -> Policy:
    """Return the usual policy for calls that may take so long: no probe is lost that may still be answered."""
    return Policy(probe_seconds=max(Policy.probe_seconds, timeout_seconds + _PROBE_GRACE_SECONDS))


@dataclass(frozen=True)
class Rates:
    """Requests and tokens a minute; None for no limit."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Entry:
    """A call that wants to be made: `model` is provider, address and name; `tokens` what it will use, about."""

    model: str
    rates: Rates
    tokens: int
    ticket: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Verdict:
    """May it? `reason` is admitted, probe, or why not: paused, open, probing, requests, tokens.

    `breaker` is closed, half_open or open.
    """

    reason: str
    wait_seconds: float
    breaker: str

    @property
    def is_admitted(self) -> bool:
        """Tell whether the call may be made."""
        return self.reason in ("admitted", "probe")


@dataclass(frozen=True)
class Report:
    """What came of a call: `outcome` is alive, failed or abandoned (never sent); `tokens` is what it really used."""

    outcome: str
    tokens: int | None = None
    pause_seconds: float = 0.0


class Gate(Protocol):
    """Keeps the models' breakers and rates."""

    def admit(self, entry: Entry, *, must: bool = False) -> Verdict:
        """Say whether the call may be made, and count it if so; `must` passes the rates only."""
        ...

    def report(self, entry: Entry, report: Report) -> str:
        """Take notice of what came of an admitted call; return the breaker's state."""
        ...


class RedisGate:
    """The gate that all processes share; raises RedisError when Redis is away."""

    def __init__(self, client: redis.Redis, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text("utf-8"))

    def admit(self, entry: Entry, *, must: bool = False) -> Verdict:
        """Say whether the call may be made, and count it if so."""
        rates = entry.rates
        limits = (rates.requests or 0, rates.tokens or 0, entry.tokens, int(must))
        reason, wait, breaker = self._run(
            entry.model, "admit", entry.ticket, self._policy.probe_seconds, *limits
        )
        return Verdict(reason, float(wait), breaker)

    def report(self, entry: Entry, report: Report) -> str:
        """Take notice of what came of an admitted call; return the breaker's state."""
        policy, rates = self._policy, entry.rates
        used = 0 if report.outcome == "abandoned" else report.tokens
        difference = 0 if used is None else used - entry.tokens
        return self._run(
            entry.model,
            "report",
            entry.ticket,
            report.outcome,
            policy.failures,
            policy.window_seconds,
            policy.open_seconds,
            min(report.pause_seconds, LONGEST_PAUSE_SECONDS),
            rates.requests or 0,
            int(report.outcome == "abandoned"),
            rates.tokens or 0,
            difference,
        )[2]

    def _run(self, model: str, *arguments: str | float) -> tuple[str, str, str]:
        keys = [f"octollm:llm:{{{model}}}", f"octollm:llm:{{{model}}}:failures"]
        answer = self._script(keys=keys, args=list(arguments))
        verdict, wait, breaker = (part.decode() if isinstance(part, bytes) else str(part) for part in answer)
        return verdict, wait, breaker


@dataclass
class _Uses:
    """What this process counts of one model while Redis is away."""

    requests: FixedWindow = field(default_factory=lambda: FixedWindow(_MINUTE))
    tokens: FixedWindow = field(default_factory=lambda: FixedWindow(_MINUTE))
    failures_in_a_row: int = 0
    open_until: float = 0.0
    pause_until: float = 0.0

    def breaker(self, now: float) -> str:
        return "open" if now < self.open_until else "closed"


class FallbackGate:
    """The gate of one process while Redis is away, simpler than the shared one.

    Each process admits the rates' worth of calls in a fixed window of a minute, so N processes admit at most N times
    the rates. `Policy.failures` failed calls in a row stop calls to the model for `open_seconds`; after that they are
    admitted again, without a probe. A provider's pause is kept. Counts start at zero and are not carried over.
    """

    def __init__(self, policy: Policy | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy or Policy()
        self._clock = clock
        self._uses: defaultdict[str, _Uses] = defaultdict(_Uses)
        self._lock = threading.Lock()

    def admit(self, entry: Entry, *, must: bool = False) -> Verdict:
        """Say whether the call may be made, and count it if so."""
        with self._lock:
            uses, now = self._uses[entry.model], self._clock()
            breaker = uses.breaker(now)
            if now < uses.pause_until:
                return Verdict("paused", uses.pause_until - now, breaker)
            if now < uses.open_until:
                return Verdict("open", uses.open_until - now, breaker)
            if not _take(uses.requests, 1, limit=entry.rates.requests, now=now, must=must):
                return Verdict("requests", uses.requests.seconds_left(now), breaker)
            if not _take(uses.tokens, entry.tokens, limit=entry.rates.tokens, now=now, must=must):
                uses.requests.correct(-1)
                return Verdict("tokens", uses.tokens.seconds_left(now), breaker)
            return Verdict("admitted", 0.0, breaker)

    def report(self, entry: Entry, report: Report) -> str:
        """Count the outcome of an admitted call; return the breaker's state."""
        with self._lock:
            uses, now = self._uses[entry.model], self._clock()
            is_abandoned = report.outcome == "abandoned"
            if report.outcome == "alive":
                uses.failures_in_a_row = 0
            elif report.outcome == "failed":
                uses.failures_in_a_row += 1
            if uses.failures_in_a_row >= self._policy.failures:
                uses.failures_in_a_row, uses.open_until = 0, now + self._policy.open_seconds
            pause = min(report.pause_seconds, LONGEST_PAUSE_SECONDS)
            uses.pause_until = max(uses.pause_until, now + pause)
            uses.requests.correct(-1 if is_abandoned else 0)
            used = 0 if is_abandoned else report.tokens
            uses.tokens.correct(0 if used is None else used - entry.tokens)
            return uses.breaker(now)


class SharedGate:
    """The Redis gate; while Redis is away, the process's FallbackGate."""

    def __init__(self, client: redis.Redis, policy: Policy | None = None) -> None:
        self._shared = RedisGate(client, policy)
        self._fallback = FallbackGate(policy)
        self._availability = Availability(pause_seconds=_RETRY_REDIS_SECONDS)

    def admit(self, entry: Entry, *, must: bool = False) -> Verdict:
        """Say whether the call may be made, and count it if so."""
        return self._either(lambda gate: gate.admit(entry, must=must))

    def report(self, entry: Entry, report: Report) -> str:
        """Take notice of what came of an admitted call; return the breaker's state."""
        return self._either(lambda gate: gate.report(entry, report))

    def _either(self, work: Callable[[Gate], T]) -> T:
        found = self._availability.attempt(lambda: work(self._shared), event="gate.redis_away")
        return work(self._fallback) if found is None else found


def _take(window: FixedWindow, amount: int, *, limit: int | None, now: float, must: bool) -> bool:
    """Take from a minute's window; a call larger than a whole minute's limit takes all of it."""
    return not limit or window.take(min(amount, limit), limit=math.inf if must else limit, now=now)

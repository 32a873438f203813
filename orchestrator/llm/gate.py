"""Decides whether a model may be called now: its breaker, its provider's pause, its rates; shared by all processes."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import redis
import structlog
from redis.exceptions import RedisError

from orchestrator.connections.redis_client import Standing

T = TypeVar("T")
log = structlog.get_logger(__name__)

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
class _State:
    """What gate.lua keeps in its hash and set, for one model of this process."""

    failures: list[float] = field(default_factory=list)
    open_until: float = 0.0
    ticket: str = ""
    probe_until: float = 0.0
    pause_until: float = 0.0
    requests_at: float = 0.0
    tokens_at: float = 0.0

    def breaker(self, now: float) -> str:
        if not self.open_until:
            return "closed"
        return "open" if now < self.open_until else "half_open"


class LocalGate:
    """The gate of one process, for as long as Redis is away; the same rules as gate.lua."""

    def __init__(self, policy: Policy | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy or Policy()
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._lock = threading.Lock()

    def admit(self, entry: Entry, *, must: bool = False) -> Verdict:
        """Say whether the call may be made, and count it if so."""
        with self._lock:
            state, now = self._states.setdefault(entry.model, _State()), self._clock()
            return self._admit(state, entry, now=now, must=must)

    def report(self, entry: Entry, report: Report) -> str:
        """Take notice of what came of an admitted call; return the breaker's state."""
        with self._lock:
            state, now = self._states.setdefault(entry.model, _State()), self._clock()
            self._judge(state, entry, report.outcome, now=now)
            if report.pause_seconds > 0:
                pause = min(report.pause_seconds, LONGEST_PAUSE_SECONDS)
                state.pause_until = max(state.pause_until, now + pause)
            is_back = report.outcome == "abandoned"
            if entry.rates.requests and is_back:
                state.requests_at = max(now, state.requests_at) - _MINUTE / entry.rates.requests
            used = 0 if is_back else report.tokens
            if entry.rates.tokens and used is not None:
                shift = (used - entry.tokens) / entry.rates.tokens * _MINUTE
                state.tokens_at = max(now, state.tokens_at) + shift
            return state.breaker(now)

    def _admit(self, state: _State, entry: Entry, *, now: float, must: bool) -> Verdict:
        breaker = state.breaker(now)
        if now < state.pause_until:
            return Verdict("paused", state.pause_until - now, breaker)
        if breaker == "open":
            return Verdict("open", state.open_until - now, breaker)
        if breaker == "half_open" and now < state.probe_until:
            return Verdict("probing", state.probe_until - now, breaker)
        requests_at, request_wait = _arrival(state.requests_at, entry.rates.requests, 1, now=now)
        tokens_at, token_wait = _arrival(state.tokens_at, entry.rates.tokens, entry.tokens, now=now)
        if request_wait and not must:
            return Verdict("requests", request_wait, breaker)
        if token_wait and not must:
            return Verdict("tokens", token_wait, breaker)
        state.requests_at, state.tokens_at = requests_at, tokens_at
        if breaker == "half_open":
            state.ticket, state.probe_until = entry.ticket, now + self._policy.probe_seconds
            return Verdict("probe", 0.0, breaker)
        return Verdict("admitted", 0.0, breaker)

    def _judge(self, state: _State, entry: Entry, outcome: str, *, now: float) -> None:
        is_probe = state.ticket == entry.ticket
        if outcome == "failed":
            state.failures = [at for at in state.failures if at > now - self._policy.window_seconds] + [now]
            is_full = len(state.failures) >= self._policy.failures and not state.open_until
            if is_probe or is_full:
                state.open_until = now + self._policy.open_seconds
                state.ticket, state.probe_until = "", 0.0
        elif is_probe:
            state.ticket, state.probe_until = "", 0.0
            if outcome == "alive":
                state.open_until, state.failures = 0.0, []


class SharedGate:
    """The Redis gate while Redis answers, the process's own while it does not."""

    def __init__(self, client: redis.Redis, policy: Policy | None = None) -> None:
        self._shared = RedisGate(client, policy)
        self._own = LocalGate(policy)
        self._standing = Standing(pause_seconds=_RETRY_REDIS_SECONDS)

    def admit(self, entry: Entry, *, must: bool = False) -> Verdict:
        """Say whether the call may be made, and count it if so."""
        return self._either(lambda gate: gate.admit(entry, must=must))

    def report(self, entry: Entry, report: Report) -> str:
        """Take notice of what came of an admitted call; return the breaker's state."""
        return self._either(lambda gate: gate.report(entry, report))

    def _either(self, work: Callable[[Gate], T]) -> T:
        if not self._standing.may_ask():
            return work(self._own)
        try:
            found = work(self._shared)
        except RedisError as error:
            log.warning("gate.redis_away", error=type(error).__name__)
            self._standing.failed()
            return work(self._own)
        self._standing.answered()
        return found


def _arrival(at: float, per_minute: int | None, amount: int, *, now: float) -> tuple[float, float]:
    """Return the theoretical arrival time after `amount` more, and how long until there is room for it (GCRA)."""
    if not per_minute:
        return at, 0.0
    after = max(at, now) + min(amount / per_minute * _MINUTE, _MINUTE)
    # to the microsecond: what was given back must leave no rounding error behind
    return after, max(0.0, round(after - now - _MINUTE, 6))

"""The gate that all processes share in Redis, and each process's simpler gate while Redis is away."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.llm.gate import (
    Admission,
    CallOutcome,
    CallTicket,
    FallbackGate,
    Gate,
    Policy,
    Rates,
    RedisGate,
    SharedGate,
    policy_for,
)
from tests.waiting import wait_until

# the breaker stays open or is half open at once, and probes do not expire, so that no test depends on time
OPEN = Policy(failures=3, open_seconds=60)
HALF_OPEN = Policy(failures=3, open_seconds=0.05)
CROWD = Path(__file__).with_name("llm_crowd.py")
FAILED, ALIVE, ABANDONED = CallOutcome("failed"), CallOutcome("alive"), CallOutcome("abandoned")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def make(client: redis.Redis) -> Callable[[Policy], Gate]:
    """Return the shared gate."""
    return partial(RedisGate, client)


@pytest.fixture(params=["redis", "fallback"])
def gate(request: pytest.FixtureRequest, client: redis.Redis) -> Gate:
    """A gate of either kind, for tests that apply to both."""
    return FallbackGate(OPEN) if request.param == "fallback" else RedisGate(client, OPEN)


def test_a_breaker_opens_at_the_limit_of_failures_and_not_before(gate: Gate) -> None:
    _fail(gate, 2)
    before = _try(gate)
    _fail(gate, 1)

    after = _try(gate)

    assert (before.reason, before.breaker) == ("admitted", "closed")
    assert (after.reason, after.breaker) == ("open", "open")
    assert 30 < after.wait_seconds <= 60


def test_failures_further_apart_than_the_window_do_not_add_up(make: Callable[[Policy], Gate]) -> None:
    gate = make(Policy(failures=2, window_seconds=0.1))
    _fail(gate, 1)
    forgotten = time.monotonic() + 0.12
    wait_until(lambda: time.monotonic() > forgotten, 1, "the window to pass")

    _fail(gate, 1)

    assert _try(gate).breaker == "closed"


def test_a_half_open_breaker_lets_one_probe_through_which_closes_it(make: Callable[[Policy], Gate]) -> None:
    gate = make(HALF_OPEN)
    probe = _until_probe(gate)
    meanwhile = _try(gate)

    state = gate.report(probe, ALIVE)

    assert meanwhile.reason == "probing"
    assert state == "closed"
    assert _try(gate).reason == "admitted"


def test_a_failed_probe_opens_the_breaker_again(make: Callable[[Policy], Gate]) -> None:
    gate = make(HALF_OPEN)
    probe = _until_probe(gate)

    state = gate.report(probe, FAILED)

    assert state == "open"


def test_a_probe_that_is_never_reported_is_replaced(make: Callable[[Policy], Gate]) -> None:
    gate = make(Policy(failures=3, open_seconds=0.05, probe_seconds=0.1))
    _until_probe(gate)

    lost = wait_until(lambda: _try(gate).reason == "probe", 5, "the lost probe's lease to end")

    assert lost


def test_a_probe_is_not_lost_while_its_call_may_still_be_answered() -> None:
    assert policy_for(300).probe_seconds > 300
    assert policy_for(30) == Policy()


def test_after_an_abandoned_probe_the_next_call_probes(make: Callable[[Policy], Gate]) -> None:
    gate = make(HALF_OPEN)
    probe = _until_probe(gate)

    gate.report(probe, ABANDONED)

    assert _try(gate).reason == "probe"


def test_a_late_success_of_an_earlier_call_does_not_close_the_breaker(gate: Gate) -> None:
    early = _ticket()
    gate.admit(early)
    _fail(gate, 3)

    state = gate.report(early, ALIVE)

    assert state == "open"


def test_a_rate_limit_admits_one_minutes_calls_and_returns_the_wait(gate: Gate) -> None:
    rates = Rates(requests=5)

    admissions = [_try(gate, rates) for _ in range(6)]

    assert [admission.reason for admission in admissions] == ["admitted"] * 5 + ["requests"]
    assert 0 < admissions[-1].wait_seconds <= 60


def test_the_shared_rate_refills_evenly(make: Callable[[Policy], Gate]) -> None:
    gate, rates = make(OPEN), Rates(requests=5)

    admissions = [_try(gate, rates) for _ in range(6)]

    assert 0 < admissions[-1].wait_seconds <= 12


def test_reserved_tokens_are_corrected_to_the_actual_usage(gate: Gate) -> None:
    rates = Rates(tokens=1000)
    ticket = _ticket(rates, tokens=900)
    gate.admit(ticket)
    refused = _try(gate, rates, tokens=600)

    gate.report(ticket, CallOutcome("alive", tokens=100))

    assert refused.reason == "tokens"
    assert _try(gate, rates, tokens=600).reason == "admitted"


def test_tokens_beyond_the_reservation_are_subtracted_too(gate: Gate) -> None:
    rates = Rates(tokens=1000)
    ticket = _ticket(rates, tokens=100)
    gate.admit(ticket)

    gate.report(ticket, CallOutcome("alive", tokens=900))

    assert _try(gate, rates, tokens=600).reason == "tokens"


def test_an_abandoned_call_returns_its_reservation(gate: Gate) -> None:
    rates = Rates(requests=1, tokens=100)
    ticket = _ticket(rates, tokens=100)
    gate.admit(ticket)

    gate.report(ticket, ABANDONED)

    assert _try(gate, rates, tokens=100).reason == "admitted"


def test_a_pause_stops_all_calls_and_is_never_shortened(gate: Gate) -> None:
    ticket = _ticket()
    gate.admit(ticket)
    gate.report(ticket, CallOutcome("alive", pause_seconds=50))
    gate.report(ticket, CallOutcome("alive", pause_seconds=1))

    admission = _try(gate)

    assert admission.reason == "paused"
    assert 30 < admission.wait_seconds <= 50
    assert gate.admit(_ticket(), must=True).reason == "paused"


def test_a_pause_of_days_is_capped_at_minutes(gate: Gate) -> None:
    ticket = _ticket()
    gate.admit(ticket)

    gate.report(ticket, CallOutcome("alive", pause_seconds=4_294_967))

    assert _try(gate).wait_seconds <= 300


def test_the_fallback_admits_again_when_its_window_or_its_breaker_has_ended() -> None:
    now = 0.0
    gate, rates = FallbackGate(OPEN, clock=lambda: now), Rates(requests=2)
    before = [_try(gate, rates).reason for _ in range(3)]
    _fail(gate, 3)
    opened = _try(gate)

    now = 61.0
    after = [_try(gate, rates).reason for _ in range(3)]

    assert before == after == ["admitted", "admitted", "requests"]
    assert (opened.reason, opened.wait_seconds) == ("open", 60.0)


def test_the_fallback_opens_only_after_failures_in_a_row() -> None:
    gate = FallbackGate(OPEN)
    _fail(gate, 2)
    gate.report(_ticket(), ALIVE)
    _fail(gate, 2)

    assert _try(gate).reason == "admitted"


def test_failures_further_apart_than_the_window_do_not_open_the_fallback() -> None:
    now = 0.0
    gate = FallbackGate(OPEN, clock=lambda: now)
    _fail(gate, 2)

    now = OPEN.window_seconds + 1
    _fail(gate, 1)

    assert _try(gate).reason == "admitted"


def test_models_have_separate_breakers(gate: Gate) -> None:
    _fail(gate, 3)

    assert gate.admit(CallTicket("another", Rates(), 1)).reason == "admitted"


@pytest.mark.slow
def test_eight_processes_send_exactly_one_probe(client: redis.Redis, redis_url: str) -> None:
    policy = Policy(failures=3, open_seconds=0.2)
    gate = RedisGate(client, policy)

    def open_and_wait() -> None:
        _fail(gate, 3)
        half_open = time.monotonic() + 0.25
        wait_until(lambda: time.monotonic() > half_open, 1, "the breaker to be half open")

    reasons = _crowd(client, redis_url, tries=20, requests=0, before=open_and_wait)

    assert reasons == Counter(probe=1, probing=8 * 20 - 1)


@pytest.mark.slow
def test_eight_processes_share_one_rate(client: redis.Redis, redis_url: str) -> None:
    started = time.monotonic()

    reasons = _crowd(client, redis_url, tries=30, requests=60, before=lambda: None)

    refilled = time.monotonic() - started
    assert 60 <= reasons["admitted"] <= 60 + refilled
    assert reasons["admitted"] + reasons["requests"] == 240


def test_without_redis_a_process_limits_its_own_calls() -> None:
    nobody = redis.Redis(port=1, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))
    gate = SharedGate(nobody, Policy(failures=2, open_seconds=60))

    _fail(gate, 2)

    assert _try(gate).reason == "open"
    assert gate.admit(CallTicket("another", Rates(), 1)).reason == "admitted"


def _crowd(
    client: redis.Redis, url: str, *, tries: int, requests: int, before: Callable[[], None]
) -> Counter[str]:
    command = [sys.executable, str(CROWD), url, "m", str(tries), str(requests)]
    with ExitStack() as ending:
        processes = [
            ending.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(8)
        ]
        wait_until(lambda: client.llen("crowd:here") == 8, 60, "eight processes at the gate")
        before()
        client.rpush("crowd:go", *range(8))
        answers = [process.communicate(timeout=60)[0] for process in processes]
    return sum((Counter(json.loads(answer)) for answer in answers), start=Counter())


def _ticket(rates: Rates | None = None, *, tokens: int = 1) -> CallTicket:
    return CallTicket("m", rates or Rates(), tokens)


def _try(gate: Gate, rates: Rates | None = None, *, tokens: int = 1) -> Admission:
    return gate.admit(_ticket(rates, tokens=tokens))


def _fail(gate: Gate, times: int) -> None:
    for _ in range(times):
        ticket = _ticket()
        gate.admit(ticket)
        gate.report(ticket, FAILED)


def _until_probe(gate: Gate) -> CallTicket:
    _fail(gate, 3)

    def probed() -> CallTicket | None:
        ticket = _ticket()
        return ticket if gate.admit(ticket).reason == "probe" else None

    found = wait_until(probed, 5, "the breaker to be half open")
    assert found
    return found

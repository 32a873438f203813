"""One bucket for all processes, by Redis' clock; a fixed window in each process while Redis is away."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
import redis

from orchestrator.auth.rate_limit import RateLimiter
from orchestrator.devserver.child_process import free_port
from orchestrator.settings_text import Rate

RATE = Rate(100, 60)
PROCESSES = 8
ATTEMPTS = 5_000
SECONDS = 10.0


@pytest.mark.slow
def test_eight_processes_are_admitted_no_more_than_burst_and_refill(redis_url: str) -> None:
    started = time.monotonic()
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        admitted = sum(pool.map(_attempt, [redis_url] * PROCESSES))
    seconds = time.monotonic() - started

    burst, refill = RATE.calls, seconds * RATE.calls / RATE.seconds
    assert burst + int(SECONDS * RATE.calls / RATE.seconds) <= admitted <= burst + refill


@pytest.mark.parametrize("rate", [Rate(7, 1), Rate(999_983, 60), Rate(3, 86_400)])
def test_a_burst_is_exact_whatever_the_rate(redis_url: str, rate: Rate) -> None:
    limiter = RateLimiter(redis_url)

    first = limiter.take("burst", rate, calls=rate.calls)
    looked = limiter.take("burst", rate, calls=0)
    more = limiter.take("burst", rate, calls=rate.calls)

    assert (first.is_allowed, first.limit, first.remaining) == (True, rate.calls, 0)
    assert looked.is_allowed
    assert (more.is_allowed, more.retry_after_seconds > 0) == (False, True)
    assert abs(more.reset_at - time.time() - rate.seconds) < 3


def test_buckets_of_different_names_are_separate_and_expire_when_they_are_full(redis_url: str) -> None:
    limiter, rate = RateLimiter(redis_url), Rate(1, 1)

    assert limiter.take("a", rate).is_allowed
    assert limiter.take("b", rate).is_allowed
    assert not limiter.take("a", rate).is_allowed
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.pttl("octollm:rate:a") <= 1002


def test_without_redis_each_process_admits_the_rate_by_itself() -> None:
    limiter, rate = RateLimiter(f"redis://127.0.0.1:{free_port()}/0"), Rate(2, 3600)
    started = time.monotonic()

    answers = [limiter.take("a", rate) for _ in range(4)]

    assert [one.is_allowed for one in answers] == [True, True, False, False]
    assert [one.remaining for one in answers] == [1, 0, 0, 0]
    assert answers[1].retry_after_seconds == 0
    assert 3590 < answers[2].retry_after_seconds <= 3600
    assert abs(answers[2].reset_at - time.time() - 3600) < 5
    assert limiter.take("a", rate, calls=0).is_allowed
    assert limiter.take("b", rate).is_allowed
    assert time.monotonic() - started < 2


def _attempt(redis_url: str) -> int:
    """Make this process' share of the attempts, spread over the time; return how many were admitted."""
    limiter, started, share = RateLimiter(redis_url), time.monotonic(), ATTEMPTS // PROCESSES
    admitted = 0
    for number in range(share):
        time.sleep(max(0.0, started + number * SECONDS / share - time.monotonic()))
        admitted += limiter.take("shared", RATE).is_allowed
    return admitted

"""A token bucket: as many calls as it holds at once, then as many as flow in."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.auth.rate_limit import Bucket, draw
from orchestrator.settings import Rate

RATE = Rate(100, 60)


def test_a_full_bucket_gives_all_it_holds_at_once_and_no_more() -> None:
    bucket, taken = None, []
    for _ in range(101):
        bucket, allowance = draw(bucket, RATE, calls=1, now=0.0)
        taken.append(allowance)

    assert [one.is_allowed for one in taken] == [True] * 100 + [False]
    assert [one.remaining for one in taken] == [*range(99, -1, -1), 0]
    assert taken[0].reset_at == 1
    assert (taken[-1].reset_at, taken[-1].retry_after_seconds) == (60, 1)


def test_it_says_when_what_is_wanted_will_be_there() -> None:
    _, allowance = draw(Bucket(0.0, 0.0), Rate(1, 60), calls=1, now=15.0)

    assert (allowance.is_allowed, allowance.retry_after_seconds, allowance.reset_at) == (False, 45, 60)


def test_looking_takes_nothing() -> None:
    bucket, allowance = draw(Bucket(0.4, 0.0), RATE, calls=0, now=0.0)

    assert bucket == Bucket(0.4, 0.0)
    assert (allowance.is_allowed, allowance.remaining) == (True, 0)


def test_a_clock_that_is_set_back_neither_gives_nor_takes() -> None:
    bucket, allowance = draw(Bucket(5.0, 100.0), RATE, calls=1, now=40.0)

    assert (allowance.is_allowed, bucket.tokens) == (True, 4.0)


@given(st.lists(st.floats(0, 30), max_size=300), st.integers(1, 50), st.integers(1, 100))
def test_no_more_is_admitted_than_burst_and_refill_allow(gaps: list[float], calls: int, seconds: int) -> None:
    rate, now, admitted, bucket = Rate(calls, seconds), 0.0, 0, None
    for gap in gaps:
        now += gap
        bucket, allowance = draw(bucket, rate, calls=1, now=now)
        admitted += allowance.is_allowed

    assert admitted <= calls + now * calls / seconds + 1e-6

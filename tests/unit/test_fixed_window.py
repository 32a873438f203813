"""A fixed window admits its limit, then nothing until it ends."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.process.fixed_window import FixedWindow


def test_a_window_admits_its_limit_and_then_nothing_until_it_ends() -> None:
    window = FixedWindow(60.0)

    first = [window.take(1, limit=2, now=10.0) for _ in range(3)]
    left = window.seconds_left(now=40.0)
    later = [window.take(1, limit=2, now=70.0) for _ in range(3)]

    assert first == later == [True, True, False]
    assert left == 30.0


def test_looking_takes_nothing() -> None:
    window = FixedWindow(60.0)

    assert window.take(0, limit=1, now=0.0)
    assert window.take(1, limit=1, now=0.0)
    assert window.take(0, limit=1, now=0.0)


def test_what_is_given_back_may_be_used_again() -> None:
    window = FixedWindow(60.0)
    window.take(1, limit=1, now=0.0)

    window.correct(-1)

    assert window.take(1, limit=1, now=0.0)


@given(st.lists(st.floats(0, 30), max_size=300), st.integers(1, 50), st.integers(1, 100))
def test_no_two_windows_admit_more_than_twice_the_limit(gaps: list[float], limit: int, seconds: int) -> None:
    window, now, admitted = FixedWindow(seconds), 0.0, []
    for gap in gaps:
        now += gap
        if window.take(1, limit=limit, now=now):
            admitted.append(now)

    busiest = max((sum(at <= other < at + seconds for other in admitted) for at in admitted), default=0)
    assert busiest <= 2 * limit

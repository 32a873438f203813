"""The audit log keeps a limited number of refused calls in each window, for each source and in total."""

from api.middleware.audit_buffer import (
    MAX_REFUSED,
    MAX_REFUSED_BY_SOURCE,
    WINDOW_SECONDS,
    RefusalWindow,
)


def admitted(window: RefusalWindow, source: str, *, now: float, calls: int) -> int:
    return sum(window.admit(source, now=now) for _ in range(calls))


def test_each_source_has_its_own_limit() -> None:
    window = RefusalWindow()

    first = admitted(window, "a", now=0.0, calls=2 * MAX_REFUSED_BY_SOURCE)
    second = admitted(window, "b", now=1.0, calls=1)

    assert (first, second) == (MAX_REFUSED_BY_SOURCE, 1)


def test_all_sources_together_have_a_limit() -> None:
    window = RefusalWindow()

    kept = sum(window.admit(str(number), now=0.0) for number in range(2 * MAX_REFUSED))

    assert kept == MAX_REFUSED


def test_a_new_window_starts_after_the_old_one() -> None:
    window = RefusalWindow()
    admitted(window, "a", now=5.0, calls=MAX_REFUSED_BY_SOURCE)

    before = admitted(window, "a", now=5.0 + WINDOW_SECONDS - 0.1, calls=1)
    after = admitted(window, "a", now=5.0 + WINDOW_SECONDS, calls=2 * MAX_REFUSED_BY_SOURCE)

    assert (before, after) == (0, MAX_REFUSED_BY_SOURCE)

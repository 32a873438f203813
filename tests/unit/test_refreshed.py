"""A refreshed value is read in the background, and its users wait only for a value that is too old."""

import threading
from collections.abc import Iterator

import pytest

from orchestrator.process.refreshed import Refreshed
from tests.waiting import wait_until


class Source:
    """What is read: its `now` is the clock, and a read waits for `may_read`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads = 0
        self.fault: Exception | None = None
        self.may_read = threading.Event()
        self.may_read.set()
        self.value = Refreshed(self.read, fresh_seconds=1, stale_seconds=3, clock=lambda: self.now)

    def read(self) -> int:
        """Return how many reads began, this one included."""
        self.reads += 1
        reads = self.reads
        assert self.may_read.wait(30)
        if self.fault is not None:
            raise self.fault
        return reads


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.may_read.set()


def test_the_first_user_waits_for_the_value(source: Source) -> None:
    assert source.value.get() == 1


def test_a_fresh_value_is_not_read_again(source: Source) -> None:
    source.value.get()

    source.now = 0.9
    source.value.refresh()

    assert source.value.get() == 1
    assert source.reads == 1


def test_nobody_waits_for_a_value_that_is_not_stale(source: Source) -> None:
    source.value.get()
    source.may_read.clear()

    source.now = 2.0
    source.value.refresh()
    at_once = source.value.get()
    source.may_read.set()

    assert at_once == 1
    wait_until(lambda: source.value.get() == 2, 10, "the value that was read in the background")
    assert source.reads == 2


def test_a_stale_value_is_never_returned(source: Source) -> None:
    source.value.get()

    source.now = 3.0

    assert source.value.get() == 2


def test_many_users_share_one_read(source: Source) -> None:
    source.may_read.clear()
    found: list[int] = []
    users = [threading.Thread(target=lambda: found.append(source.value.get())) for _ in range(5)]
    for user in users:
        user.start()
    source.value.refresh()
    source.may_read.set()
    for user in users:
        user.join(30)

    assert found == [1] * 5


def test_a_failed_read_is_raised_once_and_then_tried_again(source: Source) -> None:
    source.fault = OSError("away")

    with pytest.raises(OSError, match="away"):
        source.value.get()
    source.fault = None

    assert source.value.get() == 2


def test_a_failed_read_in_the_background_keeps_the_value(source: Source) -> None:
    source.value.get()
    source.fault = OSError("away")

    source.now = 2.0
    source.value.refresh()
    wait_until(lambda: source.reads == 2, 10, "the read in the background")

    assert source.value.get() == 1

"""A thread of ours goes on whatever its work raises, and says how it fares."""

import threading

import structlog

from orchestrator.process.loop import Loop, Pace
from tests.waiting import wait_until


class Unforeseen(Exception):
    """What nobody who wrote a loop has thought of."""


class Away(Exception):
    """A server is away."""


class Work:
    """Raises what it is told to, then does well."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_thread_whose_work_raises_an_unforeseen_exception_goes_on() -> None:
    work = Work(Unforeseen(), MemoryError(), ValueError())
    loop = Loop("ours", work, pace=Pace(longest_pause_seconds=0.01))

    loop.start()
    wait_until(lambda: work.calls > 3, 5, "the work to be called again")
    loop.stop(wait_seconds=5)

    assert loop.health()["state"] == "working"


def test_a_failing_thread_says_since_when_and_of_what() -> None:
    failed: list[str] = []
    seen = threading.Event()

    def work() -> None:
        if failed:
            seen.set()
        raise Unforeseen("with a secret")

    loop = Loop("ours", work, pace=Pace(longest_pause_seconds=0.01), failed=failed.append)
    idle = loop.health()

    loop.start()
    assert seen.wait(5)
    failing = loop.health()
    loop.stop(wait_seconds=5)

    assert idle == {"state": "idle", "succeeded_at": None, "failing_since": None, "error": None}
    assert (failing["state"], failing["error"]) == ("failing", "Unforeseen")
    assert failing["failing_since"] is not None
    assert "secret" not in str(failing)
    assert set(failed) == {"ours"}


def test_work_that_does_not_return_says_itself_that_it_does_well() -> None:
    stopped = threading.Event()
    loop: Loop

    def work() -> None:
        loop.succeed()
        stopped.wait(5)

    loop = Loop("ours", work, stopped=stopped)
    loop.start()
    wait_until(lambda: loop.health()["succeeded_at"], 5, "the work to say so")

    assert loop.health()["state"] == "working"
    loop.stop(wait_seconds=5)


def test_a_long_series_of_failures_is_logged_ever_more_seldom_and_a_server_that_is_away_in_one_line() -> None:
    work = Work(*(Away() for _ in range(20)), Unforeseen())

    with structlog.testing.capture_logs() as logged:
        loop = Loop("ours", work, pace=Pace(longest_pause_seconds=0.001), away=(Away,))
        loop.start()
        wait_until(lambda: work.calls > 21, 5, "the work to do well")
        loop.stop(wait_seconds=5)

    away = [line for line in logged if line["event"] == "thread.server_away"]
    assert [line["failures"] for line in away] == [1, 2, 4, 8, 16]
    assert all("exc_info" not in line for line in away)
    assert [line["failures"] for line in logged if line["event"] == "thread.recovered"] == [21]


def test_a_loop_is_started_once() -> None:
    work = Work()
    loop = Loop("once", work, pace=Pace(60))

    loop.start()
    loop.start()
    wait_until(lambda: work.calls, 5, "the work to be called")
    names = [thread.name for thread in threading.enumerate()]
    loop.stop(wait_seconds=5)

    assert names.count("once") == 1

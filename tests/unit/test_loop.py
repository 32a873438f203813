"""A loop continues through every exception of its work and reports its health."""

import threading

import structlog

from orchestrator.process.loop import Loop, Pace
from tests.waiting import wait_until


class Unforeseen(Exception):
    """An exception that no loop expects."""


class Away(Exception):
    """A server is away."""


class Work:
    """Raises the given errors, one a call, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_loop_continues_after_an_unforeseen_exception() -> None:
    work = Work(Unforeseen(), MemoryError(), ValueError())
    loop = Loop("ours", work, pace=Pace(longest_pause_seconds=0.01))

    loop.start()
    wait_until(lambda: work.calls > 3, 5, "the work to be called again")
    loop.stop(wait_seconds=5)

    assert loop.health()["state"] == "working"


def test_a_loop_that_was_stopped_does_not_report_that_its_server_is_away() -> None:
    stopped = threading.Event()
    failed: list[str] = []

    def work() -> None:
        stopped.set()
        raise Away()

    loop = Loop("ours", work, away=(Away,), failed=failed.append, stopped=stopped)
    with structlog.testing.capture_logs() as told:
        loop.run()

    assert (told, failed) == ([], [])


def test_a_failing_loop_reports_since_when_and_the_error() -> None:
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


def test_work_that_does_not_return_can_report_success() -> None:
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


def test_repeated_failures_are_logged_less_and_less_often_and_an_absent_server_in_one_line() -> None:
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


def test_starting_a_loop_twice_starts_one_thread() -> None:
    work = Work()
    loop = Loop("once", work, pace=Pace(60))

    loop.start()
    loop.start()
    wait_until(lambda: work.calls, 5, "the work to be called")
    names = [thread.name for thread in threading.enumerate()]
    loop.stop(wait_seconds=5)

    assert names.count("once") == 1

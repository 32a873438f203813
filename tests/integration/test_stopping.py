"""A prefork worker that is told to stop when its child has a message and has not said so yet."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from orchestrator.queue import canvas
from tests.integration.kit import Engineer, wait_step
from tests.waiting import wait_until
from workers.tasks import app

ROOT = Path(__file__).parents[2]
PROGRAM = [
    "-m",
    "celery",
    "-A",
    "tests.integration.stuck_app",
    "worker",
    "-Q",
    "arm.executor",
    "-P",
    "prefork",
]
QUICK = ["-c", "1", "--without-mingle", "--without-gossip"]
GRACE_SECONDS = 6


@contextmanager
def worker_that_holds(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker with one child, which holds its message until the file `go` exists."""
    environ = {**os.environ, "GRACE_SECONDS": str(GRACE_SECONDS), "OCTOLLM_HELD_MESSAGE": str(folder)}
    with (
        (folder / "log").open("wb") as output,
        subprocess.Popen(
            [sys.executable, *PROGRAM, *QUICK],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as worker,
    ):
        try:
            yield worker
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)


def has_a_filled_pipe(pid: int) -> bool:
    """Return whether bytes that nobody has read are in a pipe of the process."""
    return any(unread_in(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())


def unread_in(entry: Path) -> int:
    """Return how many bytes are in the pipe that an entry of /proc/PID/fd leads to; 0 for anything else."""
    try:
        if not str(entry.readlink()).startswith("pipe:"):
            return 0
        end = os.open(entry, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        # closed since it was listed
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(end, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(end)


def test_a_message_that_a_child_has_taken_is_worked_on_and_the_worker_ends(
    engineer: Engineer, broker: "redis.Redis", tmp_path: Path
) -> None:
    with worker_that_holds(tmp_path) as worker:
        task_id = engineer.submit(wait_step("a"))
        canvas.publish(app, engineer.plan(task_id).header)
        wait_until((tmp_path / "taken").exists, 60, f"the child to take the message; see {tmp_path}")
        worker.send_signal(signal.SIGTERM)
        # the order to end, which the parent writes after it has forgotten what it does not wait for
        wait_until(lambda: has_a_filled_pipe(worker.pid), 10, f"the worker to stop; see {tmp_path}")
        (tmp_path / "go").touch()
        code = worker.wait(60)

    row = engineer.row(task_id, "a")
    assert (row["state"], row["attempt"]) == ("done", 1)
    assert code == 0, (tmp_path / "log").read_text()
    assert not list(broker.scan_iter("arm.executor*")), "the message was put back"

"""A function in a limited child stays within its limits, whatever it parses."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput, Stopped, ToolFailed
from tests.unit import greedy
from tests.waiting import wait_until
from workers.sandbox.limited import MEBIBYTE, CallLimits, limited

SMALL = CallLimits(
    memory_bytes=64 * MEBIBYTE, cpu_seconds=1, wall_seconds=30, file_bytes=1024, answer_bytes=1000
)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_function_returns_the_same_as_in_this_process() -> None:
    assert limited(greedy.greet, "a name")("you", times=2) == "hello youhello you"


@pytest.mark.parametrize(
    ("function", "arguments", "limits"),
    [
        (greedy.hold, [128 * MEBIBYTE], SMALL),
        (greedy.spin, [], SMALL),
        (greedy.sleep, [600.0], CallLimits(wall_seconds=1)),
        (greedy.nest, [100_000], SMALL),
        (greedy.crash, [], SMALL),
    ],
)
def test_a_child_that_exceeds_a_limit_is_invalid_input(
    function: Callable[..., Any], arguments: list[Any], limits: CallLimits
) -> None:
    with pytest.raises(
        InvalidStepInput, match=r"^evil\.zip is too costly to read: .* MiB of memory, .* smaller"
    ):
        limited(function, "evil.zip", limits=limits)(*arguments)

    assert limited(greedy.greet, "a name")("again") == "hello again"


def test_an_answer_that_is_too_long_is_not_read() -> None:
    with pytest.raises(InvalidStepInput, match=r"evil\.zip contains too much: .* 1000 bytes"):
        limited(greedy.greet, "evil.zip", limits=SMALL)("you", times=1000)


def test_a_child_writes_no_large_file(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="write failed on evil"):
        limited(greedy.write, "evil.zip", limits=SMALL)(str(tmp_path / "file"), 2048)

    assert (tmp_path / "file").stat().st_size <= 1024


def test_a_refusal_keeps_its_message_and_a_defect_reveals_nothing_of_the_input() -> None:
    with pytest.raises(InvalidStepInput, match="not for me"):
        limited(greedy.refuse, "a file")("not for me")
    with pytest.raises(ToolFailed) as defect:
        limited(greedy.fail, "a file")()

    assert "secret" not in defect.value.message


def test_a_child_has_no_secret_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "of the worker")

    assert not limited(greedy.environment, "nothing")().keys() - {"PYTHONPATH", "PYTHONUTF8", "LC_CTYPE"}


def test_an_attempt_that_is_stopped_ends_its_child(tmp_path: Path) -> None:
    place = tmp_path / "pid"

    def stop_once_it_runs() -> None:
        if place.exists() and place.read_text():
            raise Stopped()

    with pytest.raises(Stopped):
        limited(greedy.pid_after, "a file", checkpoint=stop_once_it_runs)(str(place))

    child = int(place.read_text())
    wait_until(lambda: not is_alive(child), 10, "the end of the child")


def test_threads_parse_in_parallel_through_one_server() -> None:
    with ThreadPoolExecutor(4) as threads:
        servers = set(threads.map(lambda _: limited(greedy.server_pid, "nothing")(), range(8)))

    assert len(servers) == 1


def test_a_server_that_was_killed_is_started_again() -> None:
    first = limited(greedy.server_pid, "nothing")()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first), 10, "the end of the server")

    assert limited(greedy.server_pid, "nothing")() != first


def test_a_forked_process_has_a_server_of_its_own_even_when_its_parent_holds_the_lock() -> None:
    mine = limited(greedy.server_pid, "nothing")()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(limited(greedy.server_pid, "nothing")()).encode())
        os._exit(0)
    os.waitpid(child, 0)

    theirs = int(os.read(read, 20))
    assert theirs != mine
    wait_until(lambda: not is_alive(theirs), 10, "the end of the server of a process that has ended")
    assert limited(greedy.server_pid, "nothing")() == mine


def test_a_killed_worker_leaves_no_running_child(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    program = (
        "from tests.unit import greedy; from workers.sandbox.limited import limited; "
        f"limited(greedy.pid_after, 'a file')({str(place)!r})"
    )
    worker = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: place.exists() and place.read_text() != "", 60, "a child at work")
    child = int(place.read_text())

    worker.kill()
    worker.wait()

    wait_until(lambda: not is_alive(child), 10, "the end of the child")


def test_a_server_starts_without_celery_and_databases() -> None:
    program = (
        "import sys, importlib; from workers.sandbox import limited_server; "
        "[importlib.import_module(name) for name in limited_server.PRELOADED]; "
        "print([name for name in ('celery', 'sqlalchemy', 'redis', 'jsonschema') if name in sys.modules])"
    )

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def test_a_thread_that_started_the_server_may_end() -> None:
    servers: list[int] = []
    thread = threading.Thread(target=lambda: servers.append(limited(greedy.server_pid, "nothing")()))
    thread.start()
    thread.join()

    assert limited(greedy.server_pid, "nothing")() == servers[0]

"""The child reaper ends registered processes when its pipe closes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.devserver import child_reaper
from orchestrator.devserver.child_reaper import ChildReaper
from tests.waiting import wait_until

Start = Callable[[str], subprocess.Popen[str]]

OBEDIENT = "print('up', flush=True); input()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"
WITH_CHILD = f"import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); {OBEDIENT}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that runs the given Python code in its own group and prints a line when it runs."""
    with contextlib.ExitStack() as ending:

        def begin(code: str) -> subprocess.Popen[str]:
            running = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                text=True,
            )
            ending.callback(running.communicate)
            ending.callback(running.kill)
            return running

        yield begin


@pytest.mark.slow
def test_registered_processes_get_their_signal_when_the_pipe_closes(start: Start) -> None:
    gentle, hard, freed = start(OBEDIENT), start(OBEDIENT), start(OBEDIENT)
    _read(gentle, hard, freed)

    child_reaper.watch(
        [
            f"add {gentle.pid} {int(signal.SIGTERM)}",
            f"add {freed.pid} {int(signal.SIGTERM)}",
            f"add {hard.pid} {int(signal.SIGKILL)}",
            f"remove {freed.pid}",
        ]
    )

    assert (gentle.wait(5), hard.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
    assert freed.poll() is None


def test_a_process_that_ignores_its_signal_is_killed_after_the_grace_period(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_reaper, "GRACE_SECONDS", 0.2)
    stubborn = start(STUBBORN)
    _read(stubborn)

    child_reaper.end({stubborn.pid: signal.SIGTERM})

    assert stubborn.wait(5) == -signal.SIGKILL


def test_children_left_in_the_group_are_killed_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_reaper, "GRACE_SECONDS", 0.2)
    parent = start(WITH_CHILD)
    (child,) = map(int, _read(parent))

    child_reaper.end({parent.pid: signal.SIGTERM})

    wait_until(lambda: _has_ended(child), 5, "the child's end")


def test_an_ended_process_causes_no_wait(start: Start) -> None:
    gone = start("print('up')")
    gone.wait(5)

    began = time.monotonic()
    child_reaper.end({gone.pid: signal.SIGTERM})

    assert time.monotonic() - began < child_reaper.GRACE_SECONDS


@pytest.mark.slow
def test_close_ends_registered_processes_and_can_be_repeated(start: Start) -> None:
    registered = start(OBEDIENT)
    _read(registered)
    owner = ChildReaper()
    owner.add(registered.pid, signal.SIGKILL)

    owner.close()
    owner.close()

    assert registered.wait(5) == -signal.SIGKILL


def _read(*running: subprocess.Popen[str]) -> list[str]:
    lines = []
    for each in running:
        assert each.stdout is not None
        lines.append(each.stdout.readline().strip())
    return lines


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True

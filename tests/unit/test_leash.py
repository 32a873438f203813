"""The leash: what is held ends when the holder's lines end."""

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
from orchestrator.devserver.child_reaper import Leash
from tests.waiting import wait_until

Start = Callable[[str], subprocess.Popen[str]]

OBEDIENT = "print('up', flush=True); input()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"
WITH_CHILD = f"import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); {OBEDIENT}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that runs some Python in a group of its own and says it is up."""
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
def test_what_is_still_held_gets_its_own_signal_at_the_end(start: Start) -> None:
    gentle, hard, freed = start(OBEDIENT), start(OBEDIENT), start(OBEDIENT)
    _read(gentle, hard, freed)

    child_reaper.watch(
        [
            f"hold {gentle.pid} {int(signal.SIGTERM)}",
            f"hold {freed.pid} {int(signal.SIGTERM)}",
            f"hold {hard.pid} {int(signal.SIGKILL)}",
            f"drop {freed.pid}",
        ]
    )

    assert (gentle.wait(5), hard.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
    assert freed.poll() is None


def test_what_ignores_its_signal_is_killed_after_the_grace(
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


def test_a_process_that_is_gone_already_holds_nothing_up(start: Start) -> None:
    gone = start("print('up')")
    gone.wait(5)

    began = time.monotonic()
    child_reaper.end({gone.pid: signal.SIGTERM})

    assert time.monotonic() - began < child_reaper.GRACE_SECONDS


@pytest.mark.slow
def test_releasing_ends_what_is_held_and_can_be_repeated(start: Start) -> None:
    held = start(OBEDIENT)
    _read(held)
    holder = Leash()
    holder.hold(held.pid, signal.SIGKILL)

    holder.release()
    holder.release()

    assert held.wait(5) == -signal.SIGKILL


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

"""A stack that is told to stop says what it waits for."""

import time
from pathlib import Path

import pytest

from orchestrator.devserver import stack
from orchestrator.devserver.child_reaper import Leash
from orchestrator.devserver.program import Program
from orchestrator.devserver.stack import Stack


def test_what_does_not_stop_is_named_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "_PROGRESS_SECONDS", 0.1)
    told: list[str] = []
    leash = Leash()
    program = Program("coder.1", "exec sleep 60", environ={}, log=tmp_path / "log", leash=leash)
    program.start()

    Stack(tmp_path, say=told.append)._wait_for_the_end([program], time.monotonic() + 0.5)

    program.kill()
    leash.release()
    assert told
    assert set(told) <= {"waiting for coder.1: 0 s at most", "waiting for coder.1: 1 s at most"}

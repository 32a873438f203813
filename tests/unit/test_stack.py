"""A stack that is lines to stop says what it waits for."""

import time
from pathlib import Path

import pytest

from orchestrator.devserver import stack
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.service import Service
from orchestrator.devserver.stack import Stack


def test_a_service_that_does_not_stop_is_named_while_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "_PROGRESS_SECONDS", 0.1)
    lines: list[str] = []
    reaper = ChildReaper()
    service = Service("coder.1", "exec sleep 60", environ={}, log=tmp_path / "log", reaper=reaper)
    service.start()

    Stack(tmp_path, say=lines.append)._wait_for_the_end([service], time.monotonic() + 0.5)

    service.kill()
    reaper.close()
    assert lines
    assert set(lines) <= {"waiting at most 0 s for coder.1", "waiting at most 1 s for coder.1"}

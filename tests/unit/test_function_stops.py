"""A function that runs as an action is stopped: at a checkpoint, by cancellation, or it is left."""

import threading
import time
from pathlib import Path

import pytest

from orchestrator.models.errors import (
    Stopped,
    ToolTimeout,
)
from tests.function_kit import run
from tests.unit.conftest import Act
from tests.waiting import wait_until


def test_a_sync_function_stops_at_a_checkpoint(act: Act) -> None:
    text = (
        '@action(effects="none")\ndef act(context: Context) -> str:\n    """Acts."""\n'
        "    while True:\n        context.checkpoint()\n"
    )
    late = act(text, deadline=time.monotonic() + 0.1)
    stopped = act(text)
    threading.Timer(0.1, stopped.cancelled.set).start()

    with pytest.raises(ToolTimeout):
        run(late)
    with pytest.raises(Stopped):
        run(stopped)


def test_an_async_function_is_cancelled_and_may_clean_up(act: Act, tmp_path: Path) -> None:
    text = (
        '@action(effects="none")\nasync def act(path: str) -> str:\n    """Acts."""\n'
        '    open(path, "a").write("begun ")\n    try:\n        await asyncio.sleep(60)\n'
        '    finally:\n        await asyncio.sleep(0)\n        open(path, "a").write("cleaned")\n'
    )
    told = tmp_path / "told"
    late = act(text, {"path": str(tmp_path / "other")}, deadline=time.monotonic() + 0.1)
    stopped = act(text, {"path": str(told)})

    def stop() -> None:
        wait_until(told.exists, 30, "the begin of the function")
        stopped.cancelled.set()

    stopper = threading.Thread(target=stop)
    stopper.start()

    with pytest.raises(ToolTimeout):
        run(late)
    with pytest.raises(Stopped):
        run(stopped)
    stopper.join(30)
    assert told.read_text() == "begun cleaned"


def test_an_async_function_that_does_not_end_is_left(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.sdk.call.GRACE_SECONDS", 0.1)
    text = (
        '@action(effects="none")\nasync def act() -> str:\n    """Acts."""\n'
        "    while True:\n        try:\n            await asyncio.sleep(60)\n"
        "        except asyncio.CancelledError:\n            pass\n"
    )

    with pytest.raises(ToolTimeout):
        run(act(text, deadline=time.monotonic() + 0.1))

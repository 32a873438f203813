"""Tests a sandbox from inside before anything is trusted to it."""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from orchestrator.models.errors import OctoError, ToolTimeout
from workers.sandbox import canaries
from workers.sandbox.backend import Backend
from workers.sandbox.limits import Limits
from workers.sandbox.run import run

_SCRIPT = Path(__file__).with_name("escape_probe.py")
_SECONDS = 20.0
_MUST_SUCCEED = "write its scratch directory"


def trouble(backend: Backend) -> str | None:
    """Return why tools must not run in this sandbox on this machine, None when it holds."""
    try:
        could = _try(backend)
    except (OctoError, OSError, ValueError) as error:
        return str(error)
    if not could.get(_MUST_SUCCEED):
        return "a tool in it can't write its scratch directory"
    broken = [name for name, done in could.items() if done and name != _MUST_SUCCEED]
    return f"a tool in it can {', '.join(broken)}" if broken else None


def _try(backend: Backend) -> dict[str, bool]:
    give_up = time.monotonic() + _SECONDS

    def checkpoint() -> None:
        if time.monotonic() > give_up:
            raise ToolTimeout(f"the probe did not end within {_SECONDS:g} s")

    with ExitStack() as kept:
        place = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="octollm-probe-")))
        listener = kept.enter_context(_listener())
        limits = Limits()
        neighbour = kept.enter_context(backend.cell(_directory(place, "other"), limits))
        withheld = kept.enter_context(canaries.laid_out([place, place / "other", neighbour.scratch]))
        inputs = _directory(place, "work")
        shutil.copy(_SCRIPT, inputs)
        cell = kept.enter_context(backend.cell(inputs, limits))
        orders = {
            "scratch": str(cell.scratch),
            "port": listener.getsockname()[1],
            "worker": os.getpid(),
            "beside": str(place / "probe"),
            "temporary": [tempfile.gettempdir(), place.name],
            "withheld": withheld,
        }
        argv = [sys.executable, "-I", "-S", str(cell.inputs / _SCRIPT.name), json.dumps(orders)]
        finished = run(cell, argv, environment={}, limits=limits, checkpoint=checkpoint)
    if finished.exit_code != 0:
        said = finished.stderr.decode("utf-8", "replace").strip()[-300:]
        raise ValueError(f"the probe ended with exit code {finished.exit_code}: {said}")
    could: dict[str, bool] = json.loads(finished.stdout)
    return could


def _directory(place: Path, name: str) -> Path:
    made = place / name
    made.mkdir()
    return made


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))

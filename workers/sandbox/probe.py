"""Tests a sandbox from inside before anything is trusted to it."""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.errors import OctoError, ToolTimeout
from workers.sandbox.backend import Backend
from workers.sandbox.limits import Limits
from workers.sandbox.run import run

_SCRIPT = Path(__file__).with_name("trespass.py")
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

    with tempfile.TemporaryDirectory(prefix="octollm-probe-") as name, _listener() as listener:
        secret = Path(name, "secret")
        secret.write_text("secret")
        inputs = Path(name, "work")
        inputs.mkdir()
        shutil.copy(_SCRIPT, inputs)
        limits = Limits()
        with backend.cell(inputs, limits) as cell:
            port = str(listener.getsockname()[1])
            script = str(cell.inputs / _SCRIPT.name)
            argv = [
                sys.executable,
                "-I",
                "-S",
                script,
                str(cell.scratch),
                port,
                str(secret),
                str(os.getpid()),
            ]
            finished = run(cell, argv, environment={}, limits=limits, checkpoint=checkpoint)
    if finished.exit_code != 0:
        said = finished.stderr.decode("utf-8", "replace").strip()[-300:]
        raise ValueError(f"the probe ended with exit code {finished.exit_code}: {said}")
    could: dict[str, bool] = json.loads(finished.stdout)
    return could


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))

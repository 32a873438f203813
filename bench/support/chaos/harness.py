"""A Postgres and a Valkey for a stack under test, which can be killed, frozen, emptied and restarted."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from bench.support.chaos import victims
from orchestrator.chord.database import is_away, open_engine, statement
from orchestrator.devserver import binaries
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres import Postgres
from orchestrator.devserver.valkey import Valkey
from tests.waiting import wait_until

AWAY_SECONDS: Final = 90.0


class Harness:
    """A durable Postgres and Valkey in `home`. A context manager."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ending:
            reaper = ChildReaper()
            ending.callback(reaper.close)
            self._postgres = Postgres(self.home, binaries.postgres(), reaper=reaper)
            self._valkey = Valkey(self.home, binaries.valkey()[0], reaper=reaper)
            for server in (self._postgres, self._valkey):
                ending.callback(server.stop)
                server.start()
            self.engine: Engine = open_engine(self._postgres.url, pool_size=8)
            ending.callback(self.engine.dispose)
            self._ending = ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    @property
    def addresses(self) -> dict[str, str]:
        """The environment variables with the addresses of the servers."""
        return {"DATABASE_URL": self._postgres.url, "REDIS_URL": self._valkey.url}

    def ask(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Run a statement and return its rows; retry while Postgres is down."""
        give_up = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                with statement(self.engine) as conn:
                    return [dict(row) for row in conn.exec_driver_sql(sql, values).mappings()]
            except DBAPIError as error:
                if not is_away(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    @contextlib.contextmanager
    def broker(self) -> Iterator["redis.Redis"]:
        """Open a connection to the broker, which may be down."""
        with redis.Redis.from_url(self._valkey.url, socket_timeout=5, socket_connect_timeout=2) as client:
            yield client

    def kill_postgres(self, *, away_seconds: float) -> None:
        """SIGKILL all processes of Postgres, and start it again after `away_seconds`."""
        text = self.ask("SELECT pg_read_file('postmaster.pid') AS text")[0]["text"]
        pids = victims.with_descendants(int(text.splitlines()[0]))
        for pid in pids:
            victims.send(pid, signal.SIGKILL)
        wait_until(lambda: not any(victims.runs(pid) for pid in pids), 30, "Postgres to be gone")
        time.sleep(away_seconds)
        self._postgres.start()

    def kill_redis(self, *, away_seconds: float) -> None:
        """SIGKILL the broker, delete its data, and start it again after `away_seconds`."""
        pid = self._valkey_pid()
        victims.send(pid, signal.SIGKILL)
        wait_until(lambda: not victims.runs(pid), 30, "Valkey to be gone")
        time.sleep(away_seconds)
        shutil.rmtree(self.home / "valkey" / "appendonlydir", ignore_errors=True)
        self._valkey.start()

    def freeze_redis(self, *, seconds: float) -> None:
        """SIGSTOP the broker for `seconds`: connections stay open without answers."""
        pid = self._valkey_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    def _valkey_pid(self) -> int:
        return int((self.home / "valkey" / "pid").read_text())

"""A private Postgres in the state directory: made once, started, found again, stopped."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2

from orchestrator.devserver import child_process, postgres_user
from orchestrator.devserver.binaries import Binaries
from orchestrator.devserver.child_process import Process
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres_user import PostgresUser
from orchestrator.models.errors import SettingsError

DATABASE = "octollm"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class Postgres:
    """One cluster: data, password and port in `home`/postgres, log in `home`/log."""

    def __init__(
        self,
        home: Path,
        binaries: Binaries,
        *,
        reaper: ChildReaper,
        durable: bool = True,
        run_as: PostgresUser | None = None,
    ) -> None:
        self._user = run_as or postgres_user.choose()
        self._state = home / "postgres"
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = self._user.make_directory(self._state)
        self._data = self._directory / "data"
        self._log = home / "log" / "postgres.log"
        self._binaries = binaries
        self._reaper = reaper
        self._durable = durable
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The database's address, password included."""
        return f"postgresql+psycopg2://postgres:{self._password}@127.0.0.1:{self._port}/{DATABASE}"

    def start(self) -> None:
        """Start the cluster unless it runs already, and make the database. Raises SettingsError."""
        self._forget_orphan()
        if not self._data.exists():
            self._make()
        self._check_version()
        self._process = self._left_running() or self._launch()
        self._make_database()

    def find(self) -> bool:
        """Return whether the cluster runs and accepts our password; starts nothing."""
        return self._data.exists() and self._answers()

    def stop(self) -> None:
        """Stop the cluster by SIGINT, the fast shutdown, which closes open connections."""
        if self._process is not None:
            self._process.stop(signal.SIGINT, seconds=STOP_SECONDS)
            self._process = None

    def _make(self) -> None:
        """Run initdb in a temporary directory and rename it, so that a failure leaves no incomplete cluster."""
        unfinished = self._directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        _write_secret(self._state / "password", password)
        password_file = _write_secret(self._directory / "password.initdb", password)
        self._user.give(unfinished)
        self._user.give(password_file)
        options = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--auth=scram-sha-256"]
        done = subprocess.run(
            self._argv("initdb", "-D", str(unfinished), f"--pwfile={password_file}", *options),
            check=False,
            capture_output=True,
            text=True,
            env=_environment(),
            **self._user.popen_options,
        )
        password_file.unlink()
        if done.returncode != 0:
            raise SettingsError(
                f"initdb failed: {done.stderr.strip()}; or set DATABASE_URL to a running Postgres"
            )
        unfinished.rename(self._data)

    def _forget_orphan(self) -> None:
        """Remove a cluster under /var/tmp whose state directory, with the password, was deleted."""
        if self._directory != self._state and not (self._state / "password").exists():
            shutil.rmtree(self._data, ignore_errors=True)

    def _check_version(self) -> None:
        major = int((self._data / "PG_VERSION").read_text())
        if major != self._binaries.major:
            raise SettingsError(
                f"{self._data} was made by Postgres {major} and can't be read by {self._binaries.major}: "
                f"dump it with Postgres {major}, or move {self._state} away to start with an empty one"
            )

    def _left_running(self) -> Process | None:
        """Return our cluster if it still runs; else remove its stale postmaster.pid."""
        status = self._status()
        if not status:
            return None
        found = Process(int(status[0]))
        if not found.is_alive() or str(self._data) not in child_process.command_of(found.pid):
            (self._data / "postmaster.pid").unlink()
            return None
        if self._answers():
            self._reaper.add(found.pid, signal.SIGINT)
            found.reaper = self._reaper
            return found
        found.stop(signal.SIGINT, seconds=STOP_SECONDS)
        return None

    def _launch(self) -> Process:
        """Start postgres on the port of the last start, or on a new one if another server takes it."""
        for _ in range(3):
            port = child_process.keep_port(self._state / "port")
            started = child_process.launch(
                self._argv("postgres", "-D", str(self._data), *self._settings(port)),
                environ=_environment(),
                log=self._log,
                reaper=self._reaper,
                orphan_signal=signal.SIGINT,
                **self._user.popen_options,
            )
            if self._becomes_ready(started):
                return started
            started.stop(signal.SIGINT, seconds=STOP_SECONDS)
            if child_process.is_free(port):
                break
        raise SettingsError(
            f"Postgres did not start; {self._log} ends with:\n{child_process.tail(self._log)}"
        )

    def _settings(self, port: int) -> Iterator[str]:
        chosen = [
            "listen_addresses=127.0.0.1",
            f"port={port}",
            "unix_socket_directories=",
            "max_connections=200",
            *(() if self._durable else _NOT_DURABLE),
        ]
        for setting in chosen:
            yield from ("-c", setting)

    def _becomes_ready(self, started: Process) -> bool:
        give_up = time.monotonic() + START_SECONDS
        while started.is_alive() and time.monotonic() < give_up:
            status = self._status()
            if len(status) >= 8 and status[0] == str(started.pid) and status[7].strip() == "ready":
                return True
            time.sleep(0.02)
        return False

    def _status(self) -> list[str]:
        """Return the lines of postmaster.pid: process id first, port fourth, state eighth."""
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _answers(self) -> bool:
        """Return whether the server on our port accepts our password and serves our data directory."""
        try:
            with self._session() as session:
                session.execute("SHOW data_directory")
                return Path(session.fetchone()[0]).resolve() == self._data.resolve()
        except (psycopg2.OperationalError, FileNotFoundError):
            return False

    def _make_database(self) -> None:
        with self._session() as session:
            session.execute("SELECT FROM pg_database WHERE datname = %(name)s", {"name": DATABASE})
            if session.rowcount == 0:
                session.execute(f"CREATE DATABASE {DATABASE}")

    @contextlib.contextmanager
    def _session(self) -> Iterator[Any]:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self._port,
            user="postgres",
            password=self._password,
            dbname="postgres",
            connect_timeout=5,
        )
        connection.autocommit = True
        try:
            with connection.cursor() as session:
                yield session
        finally:
            connection.close()

    def _argv(self, program: str, *arguments: str) -> list[str]:
        directory = self._user.executable(self._binaries.directory, directory=self._directory)
        return self._user.argv([str(directory / program), *arguments])

    @property
    def _port(self) -> int:
        return int((self._state / "port").read_text())

    @property
    def _password(self) -> str:
        return (self._state / "password").read_text()


def _write_secret(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _environment() -> dict[str, str]:
    """Return an environment without the user's PG* variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

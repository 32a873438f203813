"""A private Valkey (or Redis) in the state directory: started, found again, stopped."""

import contextlib
import os
import secrets
import signal
import socket
import time
from pathlib import Path

from orchestrator.devserver import child_process
from orchestrator.devserver.child_process import Process
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.models.errors import SettingsError

START_SECONDS = 30.0
STOP_SECONDS = 15.0


class Valkey:
    """One server: data, password and port in `home`/valkey, log in `home`/log.

    It never evicts keys: it stores the broker's queues, and an evicted queue is lost work.
    """

    def __init__(self, home: Path, program: Path, *, reaper: ChildReaper, durable: bool = True) -> None:
        self._state = home / "valkey"
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log = home / "log" / "valkey.log"
        self._program = program
        self._reaper = reaper
        self._durable = durable
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The server's address, password included."""
        return f"redis://:{self._password()}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start the server unless it runs already. Raises SettingsError."""
        self._process = self._left_running() or self._launch()

    def find(self) -> bool:
        """Return whether the server runs and accepts our password; starts nothing."""
        return (self._state / "port").exists() and self._ask("PING") == "+PONG"

    def stop(self) -> None:
        """Stop the server; a durable one writes its log to disk first."""
        if self._process is not None:
            self._process.stop(signal.SIGTERM, seconds=STOP_SECONDS)
            self._process = None

    def _left_running(self) -> Process | None:
        if not self.find():
            return None
        found = Process(int((self._state / "pid").read_text()), reaper=self._reaper)
        self._reaper.add(found.pid, signal.SIGTERM)
        return found

    def _launch(self) -> Process:
        """Start it on the port of the last start, or on a new one if another server takes it."""
        for _ in range(3):
            port = child_process.keep_port(self._state / "port")
            started = child_process.launch(
                [str(self._program), str(self._configure(port))],
                environ={"PATH": os.environ.get("PATH", os.defpath)},
                log=self._log,
                reaper=self._reaper,
                orphan_signal=signal.SIGTERM,
                cwd=self._state,
            )
            if self._becomes_ready(started):
                return started
            started.stop(signal.SIGTERM, seconds=STOP_SECONDS)
            if child_process.is_free(port):
                break
        raise SettingsError(f"Valkey did not start; {self._log} ends with:\n{child_process.tail(self._log)}")

    def _configure(self, port: int) -> Path:
        """Write the configuration, with the password: other users could read a command line."""
        path = self._state / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {self._password()}\n"
            f'pidfile "{self._state.resolve() / "pid"}"\ndir "{self._state.resolve()}"\n'
            f'save ""\nappendonly {"yes" if self._durable else "no"}\nmaxmemory-policy noeviction\n'
        )
        return path.resolve()

    def _becomes_ready(self, started: Process) -> bool:
        give_up = time.monotonic() + START_SECONDS
        while started.is_alive() and time.monotonic() < give_up:
            if self._ask("PING") == "+PONG":
                return True
            time.sleep(0.02)
        return False

    def _ask(self, command: str) -> str:
        """Authenticate and send one inline command; return the first line of the answer, empty on failure."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 2) as link:
            link.sendall(f"AUTH {self._password()}\r\n{command}\r\nQUIT\r\n".encode())
            answer = b"".join(iter(lambda: link.recv(4096), b""))
            greeting, _, rest = answer.decode(errors="replace").partition("\r\n")
            if greeting == "+OK":
                return rest.partition("\r\n")[0]
        return ""

    @property
    def _port(self) -> int:
        return int((self._state / "port").read_text())

    def _password(self) -> str:
        path = self._state / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))
        return path.read_text()

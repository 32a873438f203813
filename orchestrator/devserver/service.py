"""Runs one line of the Procfile as a supervised process: starts, restarts with backoff, stops."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path

from honcho.environ import parse_procfile

from orchestrator.devserver import child_process
from orchestrator.devserver.child_process import Process
from orchestrator.devserver.child_reaper import ChildReaper

PROCFILE = Path(__file__).parents[2] / "Procfile"
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
# an end after this time does not count as a failed start
_STEADY_SECONDS = 60.0


class Service:
    """One supervised process, with a name as honcho gives: coder.1, coder.2."""

    def __init__(
        self, name: str, command: str, *, environ: Mapping[str, str], log: Path, reaper: ChildReaper
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environ = {**environ, "HONCHO_PROCESS_NAME": name}
        self._reaper = reaper
        self._process: Process | None = None
        self._started_at = 0.0
        self._start_again_at = 0.0
        self.failed_starts = 0

    @property
    def pid(self) -> int | None:
        """The id of the process while it runs."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    def start(self) -> None:
        """Start it, appending its output to its log. If we are killed, its group gets SIGKILL."""
        self._started_at = time.monotonic()
        self._process = child_process.launch(
            ["/bin/sh", "-c", self._command],
            environ=self._environ,
            log=self.log,
            reaper=self._reaper,
            orphan_signal=signal.SIGKILL,
            cwd=PROCFILE.parent,
        )

    def restart_if_ended(self) -> str | None:
        """Restart it if it ended, after a delay that grows with each early end; return a message about an end."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_again_at:
                self.start()
            return None
        if self._process.is_alive():
            return None
        code = self._process.child.returncode if self._process.child else None
        self._reap(self._process)
        if now - self._started_at >= _STEADY_SECONDS:
            self.failed_starts = 0
        self.failed_starts += 1
        delay_seconds = min(
            _FIRST_DELAY_SECONDS * 2 ** min(self.failed_starts - 1, 10), _LONGEST_DELAY_SECONDS
        )
        self._start_again_at = now + delay_seconds
        return f"{self.name} ended ({_cause(code)}), starts again in {delay_seconds:g} s; see {self.log}"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process only; a worker lets its children finish."""
        if self._process is not None:
            self._process.send(signal.SIGTERM)

    def is_stopped(self) -> bool:
        """Return whether it has ended; if so, kill what is left of its process group."""
        if self._process is None:
            return True
        if self._process.is_alive():
            return False
        self._reap(self._process)
        return True

    def kill(self) -> None:
        """Kill the process and its children."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(5.0)
            self._process = None

    def _reap(self, ended: Process) -> None:
        ended.kill()
        ended.wait(0)
        self._process = None


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Return the Procfile's commands by name."""
    return dict(parse_procfile(path.read_text()).processes)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"

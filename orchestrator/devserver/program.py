"""One line of the Procfile kept running: started, watched, started again when it dies, stopped."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from orchestrator.devserver import child_process
from orchestrator.devserver.child_process import Process
from orchestrator.devserver.child_reaper import Leash

PROCFILE = Path(__file__).parents[2] / "Procfile"
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
# a process that lived this long did not die of its start
_STEADY_SECONDS = 60.0


class Program:
    """A process named as honcho names them: coder.1, coder.2."""

    def __init__(
        self, name: str, command: str, *, environ: Mapping[str, str], log: Path, leash: Leash
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environ = {**environ, "HONCHO_PROCESS_NAME": name}
        self._leash = leash
        self._process: Process | None = None
        self._started_at = 0.0
        self._start_again_at = 0.0
        self.early_deaths = 0

    @property
    def pid(self) -> int | None:
        """The id of the process while it runs."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    def start(self) -> None:
        """Start it; its output is appended to its log. SIGKILL to its group is its end when we are killed."""
        self._started_at = time.monotonic()
        self._process = child_process.launch(
            ["/bin/sh", "-c", self._command],
            environ=self._environ,
            log=self.log,
            leash=self._leash,
            at_death=signal.SIGKILL,
            cwd=PROCFILE.parent,
        )

    def tend(self) -> str | None:
        """Start it again if it died, later each time it dies early; return what there is to tell."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_again_at:
                self.start()
            return None
        if self._process.is_alive():
            return None
        code = self._process.child.returncode if self._process.child else None
        self._bury(self._process)
        if now - self._started_at >= _STEADY_SECONDS:
            self.early_deaths = 0
        self.early_deaths += 1
        delay_seconds = min(
            _FIRST_DELAY_SECONDS * 2 ** min(self.early_deaths - 1, 10), _LONGEST_DELAY_SECONDS
        )
        self._start_again_at = now + delay_seconds
        return f"{self.name} ended ({_cause(code)}), starts again in {delay_seconds:g} s; see {self.log}"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process itself, not to its children: a worker lets them finish."""
        if self._process is not None:
            self._process.send(signal.SIGTERM)

    def is_stopped(self) -> bool:
        """Answer whether it has ended; what is left of its group is killed then."""
        if self._process is None:
            return True
        if self._process.is_alive():
            return False
        self._bury(self._process)
        return True

    def kill(self) -> None:
        """End it and its children at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(5.0)
            self._process = None

    def _bury(self, ended: Process) -> None:
        ended.kill()
        ended.wait(0)
        self._process = None


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Return the Procfile's commands by name."""
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}


def environment(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return our environment, covered by `layers`, with this virtualenv's programs first in PATH."""
    merged = dict(os.environ)
    for layer in layers:
        merged.update(layer)
    merged["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), merged.get("PATH", os.defpath)])
    return merged


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"

"""Resolves and installs requirements with uv, in a sandbox that reaches the package index and nothing else.

Only wheels are installed, so that no code of a package runs. The virtual environment is made in a directory that is
lent to uv; its bytecode is compiled by a Python that reads none of the installed packages.
"""

import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.models.errors import SandboxUnavailable, ToolFailed, ToolTimeout
from workers.environments.index_relay import HOST, Index, IndexRelay
from workers.sandbox import backend, cleanup, run, tool_users
from workers.sandbox.backend import MEBIBYTE, Access, Isolation, ToolLimits
from workers.sandbox.run import ToolResult
from workers.sandbox.selection import Sandbox

TOOLS = ("coverage>=7.6", "pytest>=8")
"""What the actions tests and coverage run; they are resolved together with the package's own requirements."""
MAX_LOCK_CHARACTERS = 1_000_000
_SCRIPT = backend.LAUNCHER.with_name("with_index.py")
_PORT = 3141
# hundreds of modules that came with pytest, of which a run imports two
_SELDOM = "/pygments/(lexers|styles|formatters)/"
_MAX_FILES = 60_000
_MAX_REASON_CHARACTERS = 600
_SAMPLE_SECONDS = 0.5
_WALL_SECONDS = 240.0
# for the output that says that the time was too short
_SPARE_SECONDS = 10.0
_LOCKED = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}==[A-Za-z0-9.!+_-]{1,60}(?: --hash=sha256:[0-9a-f]{64}){1,500}"
)


class NotInstalled(Exception):
    """Requirements could not be had.

    `reason` completes "they can't be installed: "; `unknown` are names that the index does not know.
    """

    def __init__(self, reason: str, unknown: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = tuple(unknown)


@dataclass(frozen=True)
class Installer:
    """uv in a sandbox, and the index; `max_bytes` is the size of an environment, and half of what it may load.

    uv has ended some seconds before `deadline`, a value of time.monotonic().
    """

    sandbox: Sandbox
    index_url: str
    max_bytes: int
    checkpoint: Callable[[], None]
    deadline: float = math.inf

    def lock(self, requirements: Sequence[str], staging: Path) -> str:
        """Return everything that the environment needs, with versions and hashes, one package a line.

        Raises NotInstalled, and the errors of `checkpoint`.
        """
        command = (
            "pip",
            "compile",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            "--python",
            _base_python(),
        )
        finished = self._use_index([command], "\n".join((*requirements, *TOOLS)), staging)
        joined = finished.stdout.decode("utf-8", "replace").replace("\\\n", " ")
        return check_lock("\n".join(" ".join(line.split()) for line in joined.splitlines()))

    def install(self, lock: str, staging: Path) -> Path:
        """Make the virtual environment of a lock below `staging` and return its directory.

        Raises NotInstalled, and the errors of `checkpoint`.
        """
        place = staging / "env"
        python = str(place / "bin" / "python")
        made = ("venv", "--quiet", "--relocatable", "--no-project", "--python", _base_python(), str(place))
        install = (
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--python",
            python,
            "--requirement",
        )
        self._use_index([made, install], lock, staging)
        compileall = [
            "-I",
            "-S",
            "-m",
            "compileall",
            "-q",
            "-x",
            _SELDOM,
            "--invalidation-mode",
            "unchecked-hash",
        ]
        # a file that can't be compiled is imported from its source, or fails then
        self._run([_base_python(), *compileall, str(place / "lib")], "", Access(lent=(staging,)))
        cleanup.remove(staging / "cache")
        _seal(staging, place)
        return place

    def _use_index(self, commands: Sequence[Sequence[str]], text: str, staging: Path) -> ToolResult:
        """Run commands of uv one after the other; the last reads `text` as a file."""
        from uv import find_uv_bin  # noqa: PLC0415 - part of the extra `executor`, which other workers may lack

        relay = IndexRelay(Index(self.index_url), 2 * self.max_bytes)
        with _serving(relay, self.sandbox) as (place, port):
            url = f"http://{HOST}:{port}/{relay.token}/simple/"
            options = ("--index-url", url, "--only-binary", ":all:", "--cache-dir", str(staging / "cache"))
            *first, last = [[find_uv_bin(), *command] for command in commands]
            calls = json.dumps([*first, [*last, "requirements.txt", *options]])
            access = (
                Access(lent=(staging,), port=port)
                if place is None
                else Access(lent=(staging,), readable=(place,))
            )
            argv = [
                sys.executable,
                "-I",
                "-S",
                "-c",
                _SCRIPT.read_text("utf-8"),
                str(place or ""),
                str(port),
                calls,
            ]
            finished = self._run(argv, text, access, relay=relay)
        if finished.exit_code != 0:
            raise NotInstalled(relay.fault or _reason(finished, url), sorted(relay.unknown))
        return finished

    def _run(
        self, argv: Sequence[str], text: str, access: Access, *, relay: IndexRelay | None = None
    ) -> ToolResult:
        """Run a program beside a file requirements.txt; raises NotInstalled when it uses too much."""
        inputs = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix()))
        limited = Sandbox(self.sandbox.backend, _limits(self.max_bytes, self.deadline))
        watch = _SizeWatch(access.lent[0], self.max_bytes, self.checkpoint)
        try:
            (inputs / "requirements.txt").write_text(text)
            with limited.cell(inputs, access) as cell:
                return run.run(
                    cell,
                    argv,
                    environment=_environment(cell.scratch),
                    limits=limited.limits,
                    checkpoint=watch.check,
                )
        except (SandboxUnavailable, ToolFailed, ToolTimeout) as error:
            # the step's own deadline and cancellation come first
            self.checkpoint()
            raise NotInstalled((relay.fault if relay else "") or error.message) from error
        finally:
            cleanup.remove(inputs)


def check_lock(text: str) -> str:
    """Return a lock that is well formed: names, versions and hashes, one package a line; else raise NotInstalled."""
    lines = text.splitlines()
    if len(text) > MAX_LOCK_CHARACTERS or not lines or not all(map(_LOCKED.fullmatch, lines)):
        raise NotInstalled("the lock is not one that OctoLLM wrote, or the index has no hash of a package")
    return "\n".join(sorted(lines))


@dataclass
class _SizeWatch:
    """Measures a directory while uv writes it, as often as once in half a second."""

    directory: Path
    max_bytes: int
    checkpoint: Callable[[], None]
    _measured_at: float = 0.0

    def check(self) -> None:
        """Raise ToolFailed for a directory that grew too large, and the errors of `checkpoint`."""
        self.checkpoint()
        if (now := time.monotonic()) < self._measured_at + _SAMPLE_SECONDS:
            return
        self._measured_at = now
        # the downloaded files are in the cache, and linked or copied from there
        if size_of(self.directory) > 3 * self.max_bytes:
            raise ToolFailed(f"the environment takes more than {self.max_bytes} bytes")


def size_of(directory: Path) -> int:
    """Return the bytes that a directory takes on disk, files with several names once; too many files take all."""
    seen: set[int] = set()
    total = entries = 0
    pending = [os.fspath(directory)]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    about = entry.stat(follow_symlinks=False)
                    entries += 1
                    if about.st_ino not in seen:
                        seen.add(about.st_ino)
                        total += about.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if entries > _MAX_FILES:
            return sys.maxsize
    return total


@contextmanager
def _serving(relay: IndexRelay, sandbox: Sandbox) -> Iterator[tuple[Path | None, int]]:
    """Give the relay's Unix socket for a sandbox with a network of its own, else None; and the port inside."""
    if sandbox.backend.isolation is not Isolation.STRONG:
        with relay.serving(None) as port:
            yield None, port
        return
    directory = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix()))
    try:
        with relay.serving(directory / "index"):
            yield directory / "index", _PORT
    finally:
        cleanup.remove(directory)


def _seal(staging: Path, place: Path) -> None:
    """Take the environment back from the tool's user; raise NotInstalled when it has more than ordinary files."""
    tool_users.take_back(staging)
    base = Path(_base_python()).resolve().parent
    for path in place.rglob("*"):
        real = path.resolve()
        if path.is_symlink() and not (real.is_relative_to(place.resolve()) or real.parent == base):
            raise NotInstalled(f"the environment holds a link out of it: {path.name[:100]}")
        if not path.is_symlink() and not path.is_dir() and not path.is_file():
            raise NotInstalled(f"the environment holds something that is no file: {path.name[:100]}")


def _limits(max_bytes: int, deadline: float) -> ToolLimits:
    left = deadline - time.monotonic() - _SPARE_SECONDS
    return ToolLimits(
        cpu_seconds=240,
        memory_bytes=16_384 * MEBIBYTE,
        file_bytes=max_bytes,
        open_files=1024,
        wall_seconds=max(1.0, min(_WALL_SECONDS, left)),
        output_bytes=4 * MEBIBYTE,
    )


def _environment(scratch: Path) -> dict[str, str]:
    """Return the whole environment of uv, without ours."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "RAYON_NUM_THREADS": "2",
        "UV_CONCURRENT_DOWNLOADS": "8",
        "UV_CONCURRENT_INSTALLS": "2",
        "UV_HTTP_RETRIES": "1",
        "UV_HTTP_TIMEOUT": "60",
        "UV_LINK_MODE": "hardlink",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _base_python() -> str:
    """Return the interpreter that this process' virtual environment was made from."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)))


def _reason(finished: ToolResult, url: str) -> str:
    """Return what uv says, in one line, without the relay's address."""
    said = " ".join(finished.stderr.decode("utf-8", "replace").replace(url, "the index/").split())
    return said[:_MAX_REASON_CHARACTERS] or f"uv ended with exit code {finished.exit_code}"

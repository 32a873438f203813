"""Does what a Dockerfile says in a temporary root directory, by bubblewrap: Docker itself needs a daemon.

The base image is this machine: its /usr, /etc and its Python, all read-only.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.machine import lacks

ROOT = Path(__file__).parents[2]
USER = 10001
_OF_THE_HOST = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile: RUN, its text in one line."""

    name: str
    text: str


def read_stages(text: str) -> list[list[Instruction]]:
    """Return the instructions of each stage, the first of which is its FROM."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    stages: list[list[Instruction]] = []
    for line in filter(None, logical):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(Instruction(name, rest.strip()))
    return stages


def variables(stage: Sequence[Instruction]) -> dict[str, str]:
    """Return what the ENV instructions of a stage set."""
    return dict(word.split("=", 1) for name, text in stage if name == "ENV" for word in shlex.split(text))


@dataclass(frozen=True)
class Container:
    """A root directory: `volumes` maps paths inside to directories here; all else is read-only."""

    folder: Path
    name: str
    volumes: Mapping[str, Path] = field(default_factory=dict)
    read_only: Mapping[str, Path] = field(default_factory=dict)

    def command(self, argv: Sequence[str], environ: Mapping[str, str], *, cwd: str) -> list[str]:
        """Return the command that runs `argv` inside as process 1 of user 10001, with no capability."""
        shown = [word for path in _OF_THE_HOST if Path(path).exists() for word in ("--ro-bind", path, path)]
        python = str(Path(sys.base_prefix).resolve())
        return [
            "bwrap",
            *("--unshare-user", "--uid", str(USER), "--gid", str(USER), "--cap-drop", "ALL"),
            *(
                "--unshare-uts",
                "--hostname",
                self.name,
                "--unshare-pid",
                "--as-pid-1",
                "--die-with-parent",
                "--new-session",
            ),
            *shown,
            *("--ro-bind", python, python, "--ro-bind", str(self._programs()), "/image/bin"),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
            *(word for path, place in self.read_only.items() for word in ("--ro-bind", str(place), path)),
            *(word for path, place in self.volumes.items() for word in ("--bind", str(place), path)),
            *(
                word
                for name in ("passwd", "group")
                for word in ("--ro-bind", str(self._users(name)), f"/etc/{name}")
            ),
            *("--remount-ro", "/", "--chdir", cwd, "--clearenv"),
            *(word for name, value in environ.items() for word in ("--setenv", name, value)),
            *argv,
        ]

    def _users(self, name: str) -> Path:
        """Return a file of users, or of groups, with the image's own."""
        file = self.folder / name
        file.write_text(
            f"octollm:x:{USER}:"
            + (f"{USER}::/var/lib/octollm:/usr/sbin/nologin\n" if name == "passwd" else "\n")
        )
        return file

    def _programs(self) -> Path:
        """Return a directory with what the base image and its packages have in /usr/local/bin."""
        programs = self.folder / "programs"
        if not programs.exists():
            programs.mkdir()
            (programs / "python").symlink_to(Path(sys.base_prefix).resolve() / "bin" / "python3")
            shutil.copy(ROOT / "deploy" / "image" / "alive", programs / "octollm-alive")
            shutil.copy(shutil.which("tini") or lacks("tini", package="tini"), programs / "tini")
        return programs


def build(text: str, folder: Path) -> Path:
    """Do the RUN and COPY instructions of the first stage; return what it leaves in /opt/octollm."""
    stage = read_stages(text)[0]
    work, opt = folder / "build", folder / "opt"
    work.mkdir()
    opt.mkdir()
    cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    container = Container(folder, "build", {"/build": work, "/opt": opt, "/cache": cache})
    # packages come from the cache of `make setup` where it has them: what is tried is that they are enough
    environ = {
        "PATH": "/image/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "UV_CACHE_DIR": "/cache",
        "UV_LINK_MODE": "copy",
    }
    environ |= {
        name: value
        for name, value in os.environ.items()
        if name.lower().endswith("_proxy") or name.startswith(("PIP_", "UV_INDEX", "SSL_"))
    }
    for name, rest in stage:
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(source, work / target)
        elif name == "RUN":
            done = subprocess.run(
                container.command(["/bin/sh", "-euc", rest], environ, cwd="/build"),
                capture_output=True,
                text=True,
                timeout=550,
            )
            assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"
    return opt / "octollm"


def _copy(source: str, target: Path) -> None:
    if source != ".":
        shutil.copy(ROOT / source, target)
        return
    for path in context():
        copied = target / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)


def context() -> Iterator[Path]:
    """Yield the files that .dockerignore lets into the build."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = [line[1:] for line in lines if line.startswith("!")]
    left_out = [line for line in lines if not line.startswith("!") and line != "*"]
    for top in kept:
        place = ROOT / top
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = str(path.relative_to(ROOT))
            if path.is_file() and not any(_is_below(name, pattern) for pattern in left_out):
                yield path


def _is_below(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(Path(part).match(pattern[3:]) for part in Path(name).parts)
    return name == pattern or name.startswith(f"{pattern}/")

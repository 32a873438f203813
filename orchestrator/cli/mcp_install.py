"""Finds or installs the program of an MCP server, so that it starts without a network and does not change by itself."""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.models.errors import SettingsError

_INSTALL_SECONDS = 600


@dataclass(frozen=True)
class ServerProgram:
    """The command that starts a server, and the directories that it must be able to read for that."""

    command: tuple[str, ...]
    reads: tuple[str, ...] = ()


def resolve(command: Sequence[str], place: Path) -> ServerProgram:
    """Return the program that `command` starts; `uvx` and `npx` install theirs into the directory `place` instead.

    Raises SettingsError.
    """
    program, *arguments = command
    if program == "uvx":
        return _from_pypi(_words_of("uvx", arguments, with_value={"--from": 1, "--with": 9}), place)
    if program == "npx":
        return _from_npm(
            _words_of("npx", arguments, with_value={"-p": 1, "--package": 1}, flags={"-y", "--yes"}), place
        )
    found = shutil.which(program)
    if found is None:
        raise SettingsError(f"the program {program} is not in PATH: install it, or give its path")
    return ServerProgram((str(Path(found).absolute()), *arguments))


@dataclass(frozen=True)
class _Words:
    """The parts of a line of uvx or npx: what its options name, the program, and the program's own arguments."""

    named: dict[str, list[str]]
    program: str
    arguments: tuple[str, ...]


def _words_of(
    tool: str, arguments: Sequence[str], *, with_value: dict[str, int], flags: Iterable[str] = ()
) -> _Words:
    named: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word, is_joined, value = rest.pop(0).partition("=")
        if word in flags:
            continue
        if word not in with_value or not (is_joined or rest):
            raise SettingsError(
                f"{tool}: {word} is not known here; known are {', '.join([*with_value, *flags])}. Install the server "
                "yourself and give its command"
            )
        named.setdefault(word, []).append(value if is_joined else rest.pop(0))
    if not rest:
        raise SettingsError(f"{tool} names no package: write, for example, {tool} mcp-server-git")
    return _Words(named, rest[0], tuple(rest[1:]))


def _from_pypi(words: _Words, place: Path) -> ServerProgram:
    """Install a package with pip into a virtualenv of its own: uv is not needed, neither now nor later."""
    name, _, version = words.program.partition("@")
    wanted = [*words.named.get("--from", [f"{name}=={version}" if version and version != "latest" else name])]
    venv.EnvBuilder(symlinks=True, with_pip=True, clear=True).create(place)
    python = place / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    _run([*install, *wanted, *words.named.get("--with", [])], " ".join(wanted))
    program = place / "bin" / name
    if not program.is_file():
        raise SettingsError(f"{' '.join(wanted)} has no program {name}: name the package with --from")
    return ServerProgram((str(program), *words.arguments), (str(place),))


def _from_npm(words: _Words, place: Path) -> ServerProgram:
    """Install a package with npm, without running any script of it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise SettingsError("npx needs node and npm, which are not in PATH: install them")
    package = (words.named.get("-p") or words.named.get("--package") or [words.program])[0]
    place.mkdir(parents=True, exist_ok=True)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(place)]
    _run([npm, "install", *options, package], package)
    return ServerProgram((node, str(_script_of(place, package)), *words.arguments), (str(place),))


def _script_of(place: Path, package: str) -> Path:
    """Return the script that a package installs as its one program."""
    scope, at, rest = package.rpartition("/")
    name = f"{scope}{at}{rest.partition('@')[0]}"
    directory = place / "node_modules" / name
    try:
        about = json.loads((directory / "package.json").read_text("utf-8"))
        programs = about["bin"]
        script = programs if isinstance(programs, str) else next(iter(programs.values()))
    except (OSError, ValueError, LookupError, StopIteration) as error:
        raise SettingsError(f"the package {name} has no program: name one that has") from error
    return (directory / script).resolve()


def _run(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SettingsError(
            f"{what} was not installed within {_INSTALL_SECONDS} s: check the network"
        ) from error
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[-500:]
        raise SettingsError(
            f"{what} can't be installed ({Path(sys.executable).name}, {command[0]}): {reason}"
        )

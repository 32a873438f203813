"""The tools that the executor may run: argument lists made from checked inputs, never a shell's line."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from orchestrator.models.errors import InvalidStepInput
from workers.sandbox.interpreter import bare_python

RULES = ("E4", "E7", "E9", "F", "B")
LINE_LENGTH = 120
MAX_FAILURES = 100
# -P: a ruff.py or pytest.py in the attachment must not be taken for the tool
_SAFELY = ("-P", "-s", "-B")
_COVER = Path(__file__).parents[1] / "sandbox" / "cover.py"


@dataclass(frozen=True)
class Command:
    """One call of a tool: its name, its argument list and its whole environment."""

    tool: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Places:
    """Where a tool finds things: `inputs`, `scratch` and `report` as it sees them, `host` are the inputs for us."""

    host: Path
    inputs: Path
    scratch: Path
    report: Path


@cache
def tool_version(distribution: str) -> str:
    """Return the installed version of a tool."""
    return version(distribution)


def ruff_check(places: Places, *, paths: Sequence[str], select: Sequence[str], line_length: int) -> Command:
    """Return the call that lints `paths` by the rules of `select` alone; no configuration file is read."""
    argv = (
        *_module("ruff"),
        "check",
        "--isolated",
        "--no-cache",
        "--exit-zero",
        "--output-format=json",
        f"--select={','.join(select)}",
        f"--line-length={line_length}",
        "--",
        *inside(places.host, paths),
    )
    return Command("ruff", argv, _environment(places.scratch))


def bandit_scan(places: Places, *, paths: Sequence[str]) -> Command:
    """Return the call that looks for insecure code; the attachment's configuration and `nosec` are not heard."""
    argv = (
        *_module("bandit"),
        "--recursive",
        "--quiet",
        "--format=json",
        "--exit-zero",
        "--ignore-nosec",
        f"--ini={os.devnull}",
        # asserts are what tests are made of
        "--skip=B101",
        "--",
        *inside(places.host, paths),
    )
    return Command("bandit", argv, _environment(places.scratch))


def pytest_run(places: Places, *, paths: Sequence[str], max_failures: int) -> Command:
    """Return the call that runs the tests in `paths` and writes a JUnit report."""
    argv = (
        *_bare_python("-m", "pytest"),
        f"--maxfail={max_failures}",
        f"--junitxml={places.report}",
        *_pytest_arguments(places, paths),
    )
    return Command("pytest", argv, _pytest_environment(places))


def coverage_run(places: Places, *, paths: Sequence[str]) -> Command:
    """Return the call that runs the tests in `paths` and reports what of the attachment they ran, as JSON."""
    argv = (
        *_bare_python("-c", _COVER.read_text("utf-8")),
        str(places.inputs),
        str(places.report),
        *_pytest_arguments(places, paths),
    )
    return Command("coverage", argv, _pytest_environment(places))


def python_script(places: Places, *, script: str, argument: str | None) -> Command:
    """Return the call that runs a script of the inputs, with the path of another of them as its argument."""
    names = inside(places.host, [script, *([argument] if argument is not None else [])])
    # the script's own directory, its inputs', is not searched for modules
    argv = _bare_python(*(str(places.inputs / name) for name in names))
    return Command("python", argv, _environment(places.scratch))


def inside(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Return `paths` when each lies in `root`; raises InvalidStepInput for one that does not."""
    for name in paths:
        parts = PurePosixPath(name).parts
        if name.startswith("-") or ".." in parts or PurePosixPath(name).is_absolute():
            raise InvalidStepInput(f"{name[:80]!r} is not a path inside the attachment")
        if not (root / name).resolve().is_relative_to(root.resolve()) or not (root / name).exists():
            raise InvalidStepInput(f"there is no {name[:80]!r} in the attachment")
    return tuple(paths)


def _pytest_arguments(places: Places, paths: Sequence[str]) -> tuple[str, ...]:
    """Return what every run of pytest has in common.

    The package's own options and plug-ins are left out: they could change what a test's outcome means.
    """
    return (
        "-q",
        "--no-header",
        "--color=no",
        "--tb=short",
        # a file that can't be imported says nothing of the others
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
        "--override-ini=addopts=",
        "--override-ini=junit_family=xunit1",
        f"--rootdir={places.inputs}",
        f"--basetemp={places.scratch / 'pytest'}",
        "--",
        *inside(places.host, paths),
    )


def _pytest_environment(places: Places) -> dict[str, str]:
    roots = [str(places.inputs / name) for name in (".", "src") if (places.host / name).is_dir()]
    extra = {"PYTHONPATH": os.pathsep.join(roots), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**_environment(places.scratch), **extra}


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, *_SAFELY, "-m", name)


def _bare_python(*arguments: str) -> tuple[str, ...]:
    """Return the call of the Python in which code of others runs: it can import nothing that we stand on."""
    return (str(bare_python()), *_SAFELY, *arguments)


def _environment(scratch: Path) -> dict[str, str]:
    """Return all that a tool sees of an environment: nothing of ours, no secrets."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

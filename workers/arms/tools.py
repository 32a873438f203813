"""The programs that arms may run: builds argument lists from checked inputs, never a shell command, and runs them."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from orchestrator.models.errors import InvalidStepInput
from orchestrator.observability import tracing
from workers.arms.base import Assignment
from workers.sandbox.backend import REPORT, Access
from workers.sandbox.readable_files import bare_python
from workers.sandbox.run import ToolResult, run
from workers.sandbox.selection import Sandbox

RULES = ("E4", "E7", "E9", "F", "B")
LINE_LENGTH = 120
MAX_FAILURES = 100
# -P: Python must not import a ruff.py or pytest.py of the attachment in place of the tool
_SAFE_OPTIONS = ("-P", "-s", "-B")
_COVERAGE_RUN = Path(__file__).parents[1] / "sandbox" / "inside" / "coverage_run.py"


@dataclass(frozen=True)
class Command:
    """One call of a tool: its name, its argument list, its whole environment and its standard input.

    `report_bytes` is how much of its report is read; None: as much as the sandbox's limits say.
    """

    tool: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: bytes = b""
    report_bytes: int | None = None


@dataclass(frozen=True)
class ToolPaths:
    """Paths of a tool's files: `inputs`, `scratch` and `report` inside the sandbox; `host` are the inputs outside.

    `environment` is the virtual environment that code runs in, None for the bare Python.
    """

    host: Path
    inputs: Path
    scratch: Path
    report: Path
    environment: Path | None = None

    def python(self, *arguments: str) -> tuple[str, ...]:
        """Return a call of the Python for untrusted code, which can't import our own packages."""
        python = bare_python() if self.environment is None else self.environment / "bin" / "python"
        return (str(python), *_SAFE_OPTIONS, *arguments)


@cache
def tool_version(distribution: str) -> str:
    """Return the installed version of a tool."""
    return version(distribution)


def ruff_check(
    places: ToolPaths, *, paths: Sequence[str], select: Sequence[str], line_length: int
) -> Command:
    """Return the call that lints `paths` by the rules of `select`; no configuration file is read."""
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
    return Command("ruff", argv, _environment(places))


def bandit_scan(places: ToolPaths, *, paths: Sequence[str]) -> Command:
    """Return the call that looks for insecure code; it ignores the attachment's configuration and `nosec` marks."""
    argv = (
        *_module("bandit"),
        "--recursive",
        "--quiet",
        "--format=json",
        "--exit-zero",
        "--ignore-nosec",
        f"--ini={os.devnull}",
        # tests use asserts
        "--skip=B101",
        "--",
        *inside(places.host, paths),
    )
    return Command("bandit", argv, _environment(places))


def pytest_run(places: ToolPaths, *, paths: Sequence[str], max_failures: int) -> Command:
    """Return the call that runs the tests in `paths` and writes a JUnit report."""
    argv = (
        *places.python("-m", "pytest"),
        f"--maxfail={max_failures}",
        f"--junitxml={places.report}",
        *_pytest_arguments(places, paths),
    )
    return Command("pytest", argv, _pytest_environment(places))


def coverage_run(places: ToolPaths, *, paths: Sequence[str]) -> Command:
    """Return the call that runs the tests in `paths` and writes coverage's JSON report on the attachment."""
    argv = (
        *places.python("-c", _COVERAGE_RUN.read_text("utf-8")),
        str(places.inputs),
        str(places.report),
        *_pytest_arguments(places, paths),
    )
    return Command("coverage", argv, _pytest_environment(places))


def python_script(places: ToolPaths, *, script: str, args: Sequence[str], stdin: str = "") -> Command:
    """Return the call that runs a script of the inputs with these arguments; it starts in the inputs' directory."""
    (name,) = inside(places.host, [script])
    # by -P, the script's own directory is not searched for modules
    argv = places.python(str(places.inputs / name), *args)
    return Command("python", argv, _environment(places), stdin.encode())


def allowed_command(places: ToolPaths, *, argv: Sequence[str], stdin: str = "") -> Command:
    """Return the call of a program that the operator allows; programs of an environment come first in its PATH."""
    return Command("command", tuple(argv), _environment(places), stdin.encode())


def with_modules(command: Command, places: ToolPaths, package: str) -> Command:
    """Return the call with the modules of a directory of the inputs, and of `src` in it, in Python's path."""
    roots = [
        str(places.inputs / package / name)
        for name in (".", "src")
        if (places.host / package / name).is_dir()
    ]
    return replace(command, environment={**command.environment, "PYTHONPATH": os.pathsep.join(roots)})


def inside(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Return `paths`; raises InvalidStepInput for one that does not lie in `root`."""
    for name in paths:
        parts = PurePosixPath(name).parts
        if name.startswith("-") or ".." in parts or PurePosixPath(name).is_absolute():
            raise InvalidStepInput(f"{name[:80]!r} is not a path inside the attachment")
        if not (root / name).resolve().is_relative_to(root.resolve()) or not (root / name).exists():
            raise InvalidStepInput(f"there is no {name[:80]!r} in the attachment")
    return tuple(paths)


def _pytest_arguments(places: ToolPaths, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of every run of pytest.

    The package's own options are disabled: they could change the meaning of a test's outcome. So are plug-ins, except
    those that an environment has because the package asks for them: its tests use their fixtures.
    """
    return (
        "-q",
        "--no-header",
        "--color=no",
        "--tb=short",
        # one file that can't be imported must not stop the others
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


def _pytest_environment(places: ToolPaths) -> dict[str, str]:
    roots = [str(places.inputs / name) for name in (".", "src") if (places.host / name).is_dir()]
    extra = {"PYTHONPATH": os.pathsep.join(roots)}
    if places.environment is None:
        extra["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return {**_environment(places), **extra}


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, *_SAFE_OPTIONS, "-m", name)


def _environment(places: ToolPaths) -> dict[str, str]:
    """Return the whole environment of a tool, without ours and without secrets."""
    own = "" if places.environment is None else f"{places.environment / 'bin'}:"
    return {
        "PATH": f"{own}/usr/local/bin:/usr/bin:/bin",
        "HOME": str(places.scratch),
        "TMPDIR": str(places.scratch),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_tool(
    sandbox: Sandbox,
    root: Path,
    command: Callable[[ToolPaths], Command],
    *,
    assignment: Assignment,
    environment: Path | None = None,
) -> tuple[ToolResult, ToolPaths]:
    """Run the call that `command` returns, in a sandbox around `root`; return how it ended, and its paths.

    The tool can read `environment`. Raises PermitDenied for a program that the step may not run, ToolFailed, and the
    errors of `checkpoint`.
    """
    access = Access(readable=() if environment is None else (environment,))
    with sandbox.cell(root, access) as cell:
        places = ToolPaths(root, cell.inputs, cell.scratch, REPORT, environment)
        made = command(places)
        assignment.require_tool(made.tool)
        limits = sandbox.limits
        if made.report_bytes is not None:
            limits = replace(limits, report_bytes=made.report_bytes)
        with tracing.tool(made.tool, kind="function"):
            finished = run(
                cell,
                made.argv,
                environment=made.environment,
                limits=limits,
                checkpoint=assignment.checkpoint,
                stdin=made.stdin,
            )
    return finished, places

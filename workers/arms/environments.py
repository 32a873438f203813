"""The action executor.environment, and the use of its output by the steps that run code in it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, ToolUse, answer
from workers.arms.sources import single_attachment, workspace
from workers.arms.text_files import files_below, read_text
from workers.arms.tools import tool_version
from workers.environments.installer import Installer, NotInstalled
from workers.environments.requirements import TEST_EXTRAS, Needs, name_of, read_needs
from workers.environments.store import EnvironmentStore, Python, id_of, packages_of
from workers.environments.tool_settings import ToolSettings
from workers.sandbox.selection import SandboxStatus

NO_INDEX = (
    "no package index is configured: the operator sets PIP_INDEX_URL, for example to https://pypi.org/simple"
)
_MAX_FILES = 100


@dataclass(frozen=True)
class Environment:
    """The virtual environment that code runs in: its directory and {name: version}; None for the bare Python."""

    place: Path | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


NO_ENVIRONMENT = Environment()


def environment(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
    """Install what a package needs; the output says what it is, or why it can't be had, and never fails for that."""
    inputs = assignment.inputs
    listed = inputs.get("requirements")
    files = _files_of(assignment) if listed is None else {}
    needs = read_needs(files, listed, inputs.get("extras", TEST_EXTRAS))
    refused = sorted({refused.name for refused in needs.refused if refused.name})
    if not needs.requirements:
        return _answer(assignment, sandbox, needs, missing=refused)
    if assignment.tool_settings is None or assignment.tool_settings.index_url is None:
        names = sorted({*map(name_of, needs.requirements), *refused})
        return _answer(assignment, sandbox, needs, missing=names, reason=NO_INDEX)
    try:
        lock = _made(assignment, sandbox, needs, assignment.tool_settings)
    except (NotInstalled, OSError) as fault:
        unknown = fault.unknown if isinstance(fault, NotInstalled) else ()
        known = [name for name in map(name_of, needs.requirements) if name in unknown]
        names = sorted({*(known or map(name_of, needs.requirements)), *refused})
        return _answer(assignment, sandbox, needs, missing=names, reason=_reason_of(fault))
    return _answer(assignment, sandbox, needs, missing=refused, lock=lock)


@contextmanager
def chosen(assignment: Assignment, sandbox: SandboxStatus) -> Iterator[Environment]:
    """Give the environment that a step's inputs name, which stays until the block ends.

    Builds it from its lock where this worker does not have it. Gives the bare Python when none is named, and, with a
    warning, when it can't be had.
    """
    named = assignment.inputs.get("environment") or {}
    lock = named.get("lock")
    if not lock:
        yield NO_ENVIRONMENT
        return
    settings = assignment.tool_settings
    if settings is None or settings.index_url is None:
        yield Environment(warnings=(f"the environment is not used: {NO_INDEX}",))
        return
    with ExitStack() as kept:
        try:
            place = kept.enter_context(_using(assignment, sandbox, settings, lock))
        except (NotInstalled, OSError) as fault:
            found = Environment(warnings=(f"the environment can't be made again: {_reason_of(fault)}",))
        else:
            found = Environment(place, dict(packages_of(lock)))
        yield found


def _made(assignment: Assignment, sandbox: SandboxStatus, needs: Needs, settings: ToolSettings) -> str:
    """Return the lock of the requirements, once its environment is there."""
    assignment.require_tool("uv")
    installer = _installer(assignment, sandbox, settings)
    lock = _store(settings).lock(needs.requirements, installer)
    with _using(assignment, sandbox, settings, lock):
        return lock


@contextmanager
def _using(
    assignment: Assignment, sandbox: SandboxStatus, settings: ToolSettings, lock: str
) -> Iterator[Path]:
    def installer() -> Installer:
        assignment.require_tool("uv")
        return _installer(assignment, sandbox, settings)

    with _store(settings).using(lock, installer, assignment.checkpoint) as place:
        yield place


def _installer(assignment: Assignment, sandbox: SandboxStatus, settings: ToolSettings) -> Installer:
    return Installer(
        sandbox.require(),
        settings.index_url or "",
        settings.environment_bytes,
        assignment.checkpoint,
        assignment.deadline,
    )


def _store(settings: ToolSettings) -> EnvironmentStore:
    return EnvironmentStore(settings.environments, settings.environment_bytes, settings.environments_bytes)


def _files_of(assignment: Assignment) -> dict[str, str]:
    """Return the texts of the package's files that may say what it needs: those at its top, and lists of names."""
    with workspace(assignment, (single_attachment(assignment),)) as root:
        found = [
            (name, path)
            for name, path in files_below(root)
            if name in ("pyproject.toml", "setup.cfg", "setup.py") or name.endswith(".txt")
        ]
        texts = {name: read_text(path) for name, path in found[:_MAX_FILES]}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _answer(
    assignment: Assignment,
    sandbox: SandboxStatus,
    needs: Needs,
    *,
    missing: list[str],
    reason: str = "",
    lock: str = "",
) -> StepResult:
    packages = [{"name": name, "version": version} for name, version in packages_of(lock)]
    here = Python.here()
    output: dict[str, Any] = {
        "summary": _summary(needs, len(packages), missing=missing),
        "environment": id_of(lock) if lock else None,
        "requirements": needs.requirements,
        "packages": packages,
        "lock": lock,
        "python": here.version,
        "platform": here.platform,
        "refused": [asdict(refused) for refused in needs.refused],
        "missing_dependencies": missing,
        "not_checked": _not_checked(missing, reason) if missing else None,
    }
    tools = ToolUse.inside(sandbox.require(), {"uv": tool_version("uv")}) if lock else ToolUse({})
    return answer(assignment, output, tools=tools)


def _summary(needs: Needs, packages: int, *, missing: list[str]) -> str:
    wanted = count_of(len(needs.requirements), "requirement")
    if packages:
        made = f"an environment of {count_of(packages, 'package')} for {wanted}, pytest and coverage"
        return f"{made}; {', '.join(missing)} not among them" if missing else made
    if missing:
        return f"no environment: {', '.join(missing)} can't be had"
    return "nothing is needed that Python does not have"


def _reason_of(fault: NotInstalled | OSError) -> str:
    if isinstance(fault, NotInstalled):
        return fault.reason
    return f"the directory of environments can't be used: {fault.strerror or type(fault).__name__}"


def _not_checked(missing: list[str], reason: str) -> dict[str, str]:
    why = reason or "see `refused`"
    return {"reason": "dependency_missing", "message": f"{', '.join(missing)} can't be installed: {why}"}

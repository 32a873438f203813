"""Runs steps of the executor with environments from an index of tests.index_kit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.safety.archive import pack
from tests.index_kit import LocalIndex, wheel
from tests.unit.arm_kit import assignment, attachment_of, run
from workers.environments.installer import Installer
from workers.environments.tool_settings import ToolSettings
from workers.sandbox.selection import SandboxStatus

USES_GREETING = "import greeting\n\ndef test_it_greets():\n    assert greeting.hello('you') == 'hello you'\n"
GREETING = wheel(
    "greeting", "1.2", needs=("louder",), greeting="import louder\ndef hello(name): return 'hello ' + name\n"
)
LOUDER = wheel("louder", "0.3", louder="def loud(text): return text.upper()\n")


def package(place: Path, pyproject: str = "", **files: str) -> dict[str, bytes]:
    """Return an archive with a pyproject.toml and test files."""
    place.mkdir()
    (place / "pyproject.toml").write_text(pyproject)
    for name, text in files.items():
        (place / f"{name}.py").write_text(text)
    return {"code.tar.gz": pack(place)}


def declared(*requirements: str) -> str:
    """Return a pyproject.toml."""
    return f'[project]\nname = "x"\ndependencies = {list(requirements)}\n'


def step(
    action: str,
    inputs: dict[str, Any],
    files: dict[str, bytes],
    sandbox: SandboxStatus,
    settings: ToolSettings,
) -> StepResult:
    return run(
        replace(assignment("executor", action, inputs, files=files), tool_settings=settings), sandbox=sandbox
    )


def settings_of(place: Path, index: LocalIndex | None) -> ToolSettings:
    return ToolSettings(index.url if index else None, place / "environments", 2**28, 2**30, {})


def chosen(files: dict[str, bytes], environment: Any) -> dict[str, Any]:
    """Return the inputs of a script that runs in an environment."""
    named = [attachment_of(content, name).sha256 for name, content in files.items()]
    return {"attachments": named, "environment": environment}


def installer_of(sandbox: SandboxStatus, index: LocalIndex) -> Callable[[], Installer]:
    return lambda: Installer(sandbox.require(), index.url, 2**28, lambda: None)

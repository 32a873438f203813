"""Environments: what a package needs, installed from a package index, in which its tests run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.step_result import StepResult
from orchestrator.safety.archive import pack
from tests import index_kit
from tests.index_kit import PASSWORD, LocalIndex, wheel
from tests.unit.arm_kit import assignment, run
from workers.environments.tool_settings import ToolSettings
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import Sandbox, SandboxStatus, backend_of, select_sandbox

USES_GREETING = "import greeting\n\ndef test_it_greets():\n    assert greeting.hello('you') == 'hello you'\n"
GREETING = wheel(
    "greeting", "1.2", needs=("louder",), greeting="import louder\ndef hello(name): return 'hello ' + name\n"
)
LOUDER = wheel("louder", "0.3", louder="def loud(text): return text.upper()\n")


@pytest.fixture(scope="module")
def sandbox() -> SandboxStatus:
    """The strongest sandbox of this machine."""
    return select_sandbox(Isolation.BASIC)


@pytest.fixture
def index() -> Iterator[LocalIndex]:
    """An index with pytest, coverage, and a package that needs another one."""
    with index_kit.serving() as served:
        served.add(*GREETING)
        served.add(*LOUDER)
        yield served


def package(place: Path, pyproject: str = "", **files: str) -> dict[str, bytes]:
    """Return an archive with a pyproject.toml and test files."""
    place.mkdir()
    (place / "pyproject.toml").write_text(pyproject)
    for name, text in files.items():
        (place / f"{name}.py").write_text(text)
    return {"code.tar.gz": pack(place)}


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


@pytest.mark.parametrize("isolation", list(Isolation)[1:])
def test_tests_run_with_what_the_package_says_that_it_needs(
    isolation: Isolation, tmp_path: Path, index: LocalIndex
) -> None:
    backend = backend_of(isolation)
    assert not isinstance(backend, str), backend
    sandbox, settings = SandboxStatus(Sandbox(backend)), settings_of(tmp_path, index)
    files = package(
        tmp_path / "code",
        '[project]\nname = "x"\ndependencies = ["greeting>=1"]\n',
        test_greeting=USES_GREETING,
    )

    made = step("environment", {}, files, sandbox, settings).output
    tested = step("tests", {"environment": made}, files, sandbox, settings)

    assert made["requirements"] == ["greeting>=1"], made
    assert made["not_checked"] is None, made
    assert {"name": "louder", "version": "0.3"} in made["packages"]
    assert (tested.output["passed"], tested.output["missing_dependencies"]) == (1, [])
    assert tested.warnings == []
    assert PASSWORD not in str(made)
    assert index.refused == 0

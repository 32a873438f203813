"""Environments: what a package needs, installed from a package index, in which its tests run."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.models.errors import InvalidStepInput
from tests import index_kit
from tests.index_kit import PASSWORD, LocalIndex, wheel
from tests.integration.environment_kit import (
    GREETING,
    LOUDER,
    USES_GREETING,
    chosen,
    declared,
    package,
    settings_of,
    step,
)
from tests.unit.arm_kit import assignment, run
from workers.environments.tool_settings import ToolSettings
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import Sandbox, SandboxStatus, backend_of


@pytest.fixture
def index() -> Iterator[LocalIndex]:
    """An index with pytest, coverage, and a package that needs another one."""
    with index_kit.serving() as served:
        served.add(*GREETING)
        served.add(*LOUDER)
        yield served


class Made(NamedTuple):
    """An environment with `greeting`, the index that it is from, and the settings by which it was made."""

    output: dict[str, Any]
    registry: LocalIndex
    settings: ToolSettings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxStatus) -> Iterator[Made]:
    """One environment for the tests that only use it."""
    with index_kit.serving() as served:
        served.add(*GREETING)
        served.add(*LOUDER)
        settings = settings_of(tmp_path_factory.mktemp("made"), served)
        output = step("environment", {"requirements": ["greeting"]}, {}, sandbox, settings).output
        yield Made(output, served, settings)


@pytest.mark.parametrize(
    "isolation", [pytest.param(Isolation.BASIC, marks=pytest.mark.slow), Isolation.STRONG]
)
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


def test_code_in_an_environment_can_import_nothing_of_ours(made: Made, sandbox: SandboxStatus) -> None:
    names = ("greeting", "pytest", "orchestrator", "flask", "uv")
    script = f"import importlib.util as u\nprint([n for n in {names} if u.find_spec(n)])"
    files = {"find.py": script.encode()}

    output = step("script", chosen(files, made.output), files, sandbox, made.settings).output

    assert output["stdout"] == "['greeting', 'pytest']\n"


def test_code_in_an_environment_has_no_network_and_can_not_change_it(
    made: Made, sandbox: SandboxStatus
) -> None:
    script = f"""import greeting, socket
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", {made.registry.port}), timeout=2),
    lambda: open(greeting.__file__, "a"),
):
    try:
        attempt()
        print("done")
    except OSError:
        print("refused")
"""
    files = {"reach.py": script.encode()}
    asked = len(made.registry.asked)

    output = step("script", chosen(files, made.output), files, sandbox, made.settings).output

    assert output["stdout"] == "refused\nrefused\n"
    assert len(made.registry.asked) == asked


def test_a_second_use_asks_the_index_for_nothing(made: Made, sandbox: SandboxStatus) -> None:
    asked = len(made.registry.asked)

    second = step("environment", {"requirements": ["greeting"]}, {}, sandbox, made.settings).output

    assert second == made.output
    assert len(made.registry.asked) == asked > 0


def test_without_an_index_the_missing_dependencies_are_named_and_nothing_fails(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    settings = settings_of(tmp_path, None)
    files = package(tmp_path / "code", declared("greeting>=1"), test_greeting=USES_GREETING)

    made = step("environment", {}, files, sandbox, settings).output
    tested = step("tests", {"environment": made}, files, sandbox, settings).output

    assert (made["environment"], made["missing_dependencies"]) == (None, ["greeting"])
    assert made["not_checked"]["reason"] == "dependency_missing"
    assert "PIP_INDEX_URL" in made["not_checked"]["message"]
    assert tested["not_checked"]["reason"] == "dependency_missing"


def test_an_index_that_is_away_or_does_not_know_a_package_is_named_as_the_reason(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    settings = settings_of(tmp_path, index)

    unknown = step(
        "environment", {"requirements": ["louder", "no-such-package"]}, {}, sandbox, settings
    ).output
    index.is_away = True
    away = step("environment", {"requirements": ["louder>0"]}, {}, sandbox, settings).output

    assert (unknown["environment"], unknown["missing_dependencies"]) == (None, ["no-such-package"])
    assert "no-such-package was not found" in unknown["not_checked"]["message"]
    assert (away["environment"], away["missing_dependencies"]) == (None, ["louder"])
    assert "the package index answers 503" in away["not_checked"]["message"]
    assert PASSWORD not in f"{unknown}{away}"
    assert str(index.port) not in f"{unknown}{away}"


def test_a_package_without_a_wheel_that_fits_is_not_built(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    index.add("sourceonly-1.0.tar.gz", b"not even read")

    made = step(
        "environment", {"requirements": ["sourceonly"]}, {}, sandbox, settings_of(tmp_path, index)
    ).output

    assert (made["environment"], made["missing_dependencies"]) == (None, ["sourceonly"])
    assert not any("tar.gz" in path for path in index.asked)


def test_a_package_that_needs_nothing_is_answered_at_once(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    files = package(tmp_path / "code", declared(), test_one="def test_one(): pass\n")

    made = step("environment", {}, files, sandbox, settings_of(tmp_path, index)).output

    assert (made["environment"], made["not_checked"], made["lock"]) == (None, None, "")
    assert index.asked == []


@pytest.mark.parametrize(
    "lock",
    [
        "--index-url=http://127.0.0.1:1/",
        "greeting @ http://127.0.0.1:1/greeting-1.2-py3-none-any.whl",
        "greeting==1.2",
        f"greeting==1.2 --hash=sha256:{'0' * 64}",
        "-r /etc/passwd",
    ],
)
def test_a_lock_that_is_not_ours_or_does_not_fit_is_not_installed(
    lock: str, tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    files = {"greet.py": b"import greeting\n"}

    result = step("script", chosen(files, {"lock": lock}), files, sandbox, settings_of(tmp_path, index))

    assert result.output["missing_dependencies"] == ["greeting"]
    assert ["can't be made again" in warning for warning in result.warnings] == [True]


def test_a_directory_that_can_not_be_used_is_named_as_the_reason(
    tmp_path: Path, index: LocalIndex, made: Made, sandbox: SandboxStatus
) -> None:
    (tmp_path / "environments").write_text("not a directory")
    settings = settings_of(tmp_path, index)
    files = {"greet.py": b"import greeting\n"}

    output = step("environment", {"requirements": ["greeting"]}, {}, sandbox, settings).output
    script = step("script", chosen(files, made.output), files, sandbox, settings)

    assert "the directory of environments can't be used" in output["not_checked"]["message"]
    assert script.output["not_checked"]["reason"] == "dependency_missing"


def test_a_step_without_time_for_its_environment_says_so(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    hurried = replace(
        assignment("executor", "environment", {"requirements": ["greeting"]}),
        tool_settings=settings_of(tmp_path, index),
        deadline=time.monotonic() + 10.5,
    )
    index.delay_seconds = 30.0

    output = run(hurried, sandbox=sandbox).output

    assert output["missing_dependencies"] == ["greeting"]
    assert "longer than 1 s" in output["not_checked"]["message"]


@pytest.mark.slow
def test_an_environment_larger_than_allowed_is_not_made(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    index.add(*wheel("large", "1.0", large=f"TEXT = '{'x' * 3_000_000}'\n"))
    settings = replace(settings_of(tmp_path, index), environment_bytes=2_000_000)

    made = step("environment", {"requirements": ["large"]}, {}, sandbox, settings).output

    assert (made["environment"], made["missing_dependencies"]) == (None, ["large"])
    assert list((tmp_path / "environments").glob("envs/*")) == []


@pytest.mark.slow
def test_an_environment_of_real_packages_comes_from_the_registry_of_this_machine(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    settings = replace(settings_of(tmp_path, None), index_url=index_kit.registry())
    test = "import tabulate, idna\ndef test_both():\n    assert idna.encode('é.de') and tabulate.tabulate([[1]])\n"
    files = package(tmp_path / "code", declared("tabulate", "idna>=3"), test_both=test)

    made = step("environment", {}, files, sandbox, settings).output
    tested = step("tests", {"environment": made}, files, sandbox, settings).output
    covered = step("coverage", {"environment": made}, files, sandbox, settings).output

    assert made["not_checked"] is None, made
    assert (tested["passed"], tested["failed"], tested["missing_dependencies"]) == (1, 0, [])
    assert covered["missing_dependencies"] == []


def test_a_command_that_the_operator_allows_runs_with_arguments_input_and_files(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    settings = replace(settings_of(tmp_path, None), commands={"sorted": ("/usr/bin/sort", "-r")})
    files = {"a.txt": b"b\nc\na\n"}
    inputs = {"command": "sorted", "args": ["a.txt", "-"], "stdin": "d\n$(id)\n"}

    output = step("run", inputs, files, sandbox, settings).output

    assert output["stdout"] == "d\nc\nb\na\n$(id)\n"
    assert output["exit_code"] == 0


def test_a_command_that_nobody_allowed_is_refused_and_told_how_to_allow_it(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    settings = replace(settings_of(tmp_path, None), commands={"wc": ("/usr/bin/wc",)})

    with pytest.raises(
        InvalidStepInput, match=r"allowed are: wc\. The operator allows one by EXECUTOR_COMMANDS"
    ):
        step("run", {"command": "sh"}, {"a.txt": b""}, sandbox, settings)

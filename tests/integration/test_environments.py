"""Environments: what a package needs, installed from a package index, in which its tests run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.safety.archive import pack
from tests import index_kit
from tests.index_kit import PASSWORD, LocalIndex, wheel
from tests.unit.arm_kit import assignment, attachment_of, run
from workers.environments.installer import Installer
from workers.environments.store import EnvironmentStore
from workers.environments.tool_settings import ToolSettings
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import Sandbox, SandboxStatus, backend_of, select_sandbox

USES_GREETING = "import greeting\n\ndef test_it_greets():\n    assert greeting.hello('you') == 'hello you'\n"
GREETING = wheel(
    "greeting", "1.2", needs=("louder",), greeting="import louder\ndef hello(name): return 'hello ' + name\n"
)
LOUDER = wheel("louder", "0.3", louder="def loud(text): return text.upper()\n")
BUILDER = """
import sys
import time
from pathlib import Path
from workers.environments.installer import Installer
from workers.environments.store import EnvironmentStore
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import select_sandbox

place, url, lock = sys.argv[1:]
installer = Installer(select_sandbox(Isolation.BASIC).require(), url, 2**28, lambda: None)
with EnvironmentStore(Path(place), 2**28, 2**30).using(lock, lambda: installer, lambda: None):
    pass
"""


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


def declared(*requirements: str) -> str:
    """Return a pyproject.toml."""
    return f'[project]\nname = "x"\ndependencies = {list(requirements)}\n'


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


@pytest.mark.slow
def test_another_machine_makes_the_environment_again_from_the_lock(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    here, there = settings_of(tmp_path / "here", index), settings_of(tmp_path / "there", index)
    made = step("environment", {"requirements": ["greeting<2"]}, {}, sandbox, here).output
    index.add(*wheel("greeting", "1.9", greeting="raise SystemExit('a newer one')"))
    files = {"greet.py": b"import greeting\nprint(greeting.hello('there'))"}

    output = step("script", chosen(files, made), files, sandbox, there).output

    assert output["stdout"] == "hello there\n"


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
def test_the_environment_used_longest_ago_is_removed_unless_it_is_in_use(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    settings = replace(settings_of(tmp_path, index), environments_bytes=1)
    first = step("environment", {"requirements": ["greeting"]}, {}, sandbox, settings).output
    store = EnvironmentStore(settings.environments, settings.environment_bytes, settings.environments_bytes)

    with store.using(first["lock"], installer_of(sandbox, index), lambda: None) as place:
        second = step("environment", {"requirements": ["louder"]}, {}, sandbox, settings).output
        kept = place.is_dir()
    third = step("environment", {"requirements": ["greeting", "louder"]}, {}, sandbox, settings).output

    left = {path.name for path in (settings.environments / "envs").iterdir()}
    assert kept
    assert first["environment"] == third["environment"]
    assert left <= {first["environment"], second["environment"]}


@pytest.mark.slow
def test_two_builders_of_one_environment_build_it_once(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    settings = settings_of(tmp_path, index)
    first = step("environment", {"requirements": ["greeting"]}, {}, sandbox, settings).output
    store = EnvironmentStore(tmp_path / "other", settings.environment_bytes, settings.environments_bytes)
    index.asked.clear()

    def use() -> Path:
        with store.using(first["lock"], installer_of(sandbox, index), lambda: None) as place:
            return place

    with ThreadPoolExecutor(2) as pool:
        places = {future.result() for future in [pool.submit(use), pool.submit(use)]}

    assert len(places) == 1
    pages = [path for path in index.asked if path.startswith("/simple/")]
    assert sorted(pages) == sorted(set(pages))


@pytest.mark.slow
def test_a_builder_that_is_killed_leaves_nothing_that_is_used(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    settings = settings_of(tmp_path, index)
    made = step("environment", {"requirements": ["greeting"]}, {}, sandbox, settings).output
    store = EnvironmentStore(tmp_path / "other", settings.environment_bytes, settings.environments_bytes)
    armed = tmp_path / "points"
    armed.mkdir()
    (armed / Point.BUILT_NOT_PUT_IN_PLACE).touch()
    orders = [str(store.directory), index.url, made["lock"]]

    killed = subprocess.run(
        [sys.executable, "-c", BUILDER, *orders],
        env={**os.environ, crash_point.VARIABLE: str(armed)},
        check=False,
    )
    left = list((store.directory / "envs").iterdir())
    with store.using(made["lock"], installer_of(sandbox, index), lambda: None) as place:
        is_whole = (place / "octollm.json").is_file()

    assert killed.returncode == -signal.SIGKILL
    assert left == []
    assert is_whole
    assert list(store.directory.glob("octollm-*")) == []


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


def chosen(files: dict[str, bytes], environment: Any) -> dict[str, Any]:
    """Return the inputs of a script that runs in an environment."""
    named = [attachment_of(content, name).sha256 for name, content in files.items()]
    return {"attachments": named, "environment": environment}


def installer_of(sandbox: SandboxStatus, index: LocalIndex) -> Callable[[], Installer]:
    return lambda: Installer(sandbox.require(), index.url, 2**28, lambda: None)

"""The environments of a machine: built once, made again from a lock, removed for their size, never half-built."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from tests import index_kit
from tests.index_kit import LocalIndex, wheel
from tests.integration.environment_kit import GREETING, LOUDER, chosen, installer_of, settings_of, step
from workers.environments.store import EnvironmentStore
from workers.sandbox.selection import SandboxStatus

pytestmark = pytest.mark.slow

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


@pytest.fixture
def index() -> Iterator[LocalIndex]:
    """An index with pytest, coverage, and a package that needs another one."""
    with index_kit.serving() as served:
        served.add(*GREETING)
        served.add(*LOUDER)
        yield served


def test_another_machine_makes_the_environment_again_from_the_lock(
    tmp_path: Path, index: LocalIndex, sandbox: SandboxStatus
) -> None:
    here, there = settings_of(tmp_path / "here", index), settings_of(tmp_path / "there", index)
    made = step("environment", {"requirements": ["greeting<2"]}, {}, sandbox, here).output
    index.add(*wheel("greeting", "1.9", greeting="raise SystemExit('a newer one')"))
    files = {"greet.py": b"import greeting\nprint(greeting.hello('there'))"}

    output = step("script", chosen(files, made), files, sandbox, there).output

    assert output["stdout"] == "hello there\n"


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

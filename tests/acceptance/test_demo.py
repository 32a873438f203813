"""`octollm demo` as a new user runs it: the sample package passes, the flawed one is rejected for its defects."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.index_kit import registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A state directory that both runs share, so that the second one reuses its servers."""
    with tempfile.TemporaryDirectory(prefix="octollm-demo-test-") as folder:
        yield Path(folder)


def test_the_sample_package_passes_with_evidence_and_leaves_nothing_running(home: Path) -> None:
    demo = _demo(home)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Verdict: passed" in demo.stdout
    assert "✓ No test fails" in demo.stdout
    assert "tests:/failed is 0" in demo.stdout
    assert _processes_of(home) == []


def test_the_flawed_package_is_rejected_for_each_of_its_defects(home: Path) -> None:
    demo = _demo(home, "--reject")

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Verdict: failed" in demo.stdout
    assert "✗ No test fails" in demo.stdout
    assert "tests:/failed is 1" in demo.stdout
    assert "✗ Every function is run by a test" in demo.stdout
    assert "✗ No file holds a secret" in demo.stdout
    assert "✓ No file has a syntax error" in demo.stdout
    assert _processes_of(home) == []


def test_with_a_package_index_a_package_is_tested_with_its_dependency(home: Path) -> None:
    demo = _demo(home, index_url=registry())

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Attached: package_with_dependency" in demo.stdout
    assert "1 requirement, pytest and coverage" in demo.stdout
    assert "tests:/failed is 0" in demo.stdout
    assert _processes_of(home) == []


def _demo(home: Path, *arguments: str, index_url: str = "") -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "OCTOLLM_HOME": str(home), "PIP_INDEX_URL": index_url}
    for name in ("DATABASE_URL", "REDIS_URL"):
        environ.pop(name, None)
    command = [str(Path(sys.executable).with_name("octollm")), "demo", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=110)


def _processes_of(home: Path) -> list[str]:
    """Return the command lines of processes whose environment names this state directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(home).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found

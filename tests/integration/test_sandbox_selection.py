"""A sandbox is used only when it passes the probe and is at least as strong as required."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.errors import SandboxUnavailable
from tests.integration.sandbox_kit import kinds_here
from workers.sandbox import backend_bubblewrap, landlock, probe
from workers.sandbox.backend import (
    LAUNCHER,
    NO_ACCESS,
    Access,
    Cell,
    HandshakePipes,
    Isolation,
    SandboxStart,
    ToolLimits,
    orders,
)
from workers.sandbox.backend_bubblewrap import BubblewrapBackend
from workers.sandbox.backend_landlock import LandlockBackend
from workers.sandbox.selection import select_sandbox

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Open:
    """A sandbox without any isolation."""

    isolation: Isolation = Isolation.STRONG

    @contextmanager
    def cell(self, inputs: Path, limits: ToolLimits, _access: Access = NO_ACCESS) -> Iterator[Cell]:
        yield OpenCell(inputs, inputs, limits)

    def facts(self, _limits: ToolLimits) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class OpenCell:
    inputs: Path
    scratch: Path
    limits: ToolLimits

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], pipes: HandshakePipes
    ) -> SandboxStart:
        launch = (sys.executable, "-I", "-S", str(LAUNCHER), "tag", orders(self.limits, pipes))
        wired = (pipes.go, pipes.ready, pipes.report)
        return SandboxStart((*launch, *argv), environment, self.inputs, wired, is_keeper=True)

    def scratch_in_use(self, _pids: Sequence[int]) -> int:
        return 0

    def memory_of_files(self, _pids: Sequence[int]) -> int:
        return 0


def test_the_probe_finds_every_escape_of_an_open_sandbox() -> None:
    fault = probe.failure(Open())

    assert fault is not None
    for word in (
        "connect to a port",
        "what another tool works on",
        "the worker's environment",
        "signal the worker",
    ):
        assert word in fault


@pytest.mark.parametrize("level", kinds_here())
def test_a_real_sandbox_passes_the_probe(level: str) -> None:
    assert probe.failure(kinds_here()[level]) is None


@pytest.mark.parametrize("abi", range(1, landlock.version() + 1 if "basic" in kinds_here() else 1))
def test_basic_passes_the_probe_with_older_kernels(abi: int) -> None:
    assert probe.failure(LandlockBackend(abi)) is None


def test_a_bubblewrap_that_can_not_start_is_passed_over_with_its_message(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)

    assert "No permissions to create new namespace" in str(probe.failure(BubblewrapBackend(str(broken))))


def test_no_sandbox_below_the_required_level_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert backend_bubblewrap.program() is None

    enough, too_little = select_sandbox(Isolation.BASIC), select_sandbox(Isolation.STRONG)

    assert enough.isolation == ("basic" if "basic" in kinds_here() else "none")
    assert enough.passed_over[0] == "strong: bubblewrap is not installed"
    assert too_little.isolation is Isolation.NONE
    with pytest.raises(SandboxUnavailable, match=r"works here.*apt-get install bubblewrap"):
        too_little.require()


@pytest.mark.slow
def test_the_command_prints_the_same_as_the_worker_finds() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "workers.sandbox", "strong"],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        timeout=60,
    )

    answer = json.loads(told.stdout)
    assert answer["isolation"] == "none"
    assert "bubblewrap is not installed" in answer["reason"]
    assert "apt-get install bubblewrap" in answer["mend"]


@pytest.mark.slow
def test_a_virtualenv_that_is_a_link_is_no_weaker_than_its_target(tmp_path: Path) -> None:
    real = Path(sys.prefix).resolve()
    linked = tmp_path / "linked"
    linked.symlink_to(real)

    def isolation(prefix: Path) -> str:
        command = [str(prefix / "bin" / "python"), "-m", "workers.sandbox", "basic"]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
        return str(json.loads(told.stdout)["isolation"])

    assert isolation(linked) == isolation(real)

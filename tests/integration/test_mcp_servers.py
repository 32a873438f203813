"""MCP servers that nobody here wrote: listed, frozen, called in an attempt of a worker, killed, changed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.cli.mcp_arm import McpArm
from orchestrator.models import signing_key
from orchestrator.models.errors import OutcomeUnknown, Stopped, ToolChanged, ToolFailed
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.planner.check import check_plan
from orchestrator.settings import Settings
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import Engineer
from tests.mcp_kit import freeze_arm, using
from tests.unit.arm_kit import assignment, run
from tests.waiting import wait_until
from workers.arms.base import Assignment
from workers.attempt.context import AttemptContext
from workers.mcp.connections import CONNECTIONS
from workers.sandbox.backend import Isolation
from workers.sandbox.process_usage import tree_of
from workers.sandbox.selection import SandboxStatus

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).parents[2] / "examples" / "arms" / "git"
KEY = signing_key.new_private_key()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    place = tmp_path / "repository"
    place.mkdir()
    (place / "note.txt").write_text("first\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "Ada"],
        ["config", "user.email", "ada@example.org"],
        ["add", "."],
        ["commit", "-q", "-m", "Write the first note"],
    ):
        subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True)
    return place


@pytest.fixture
def git(tmp_path: Path, repository: Path, sandbox: SandboxStatus) -> Iterator[Path]:
    """The repository, which the arm `git` may write, unless root's basic sandbox forbids that to all servers."""
    may_write = sandbox.isolation is Isolation.STRONG or os.geteuid() != 0
    table = {
        "command": [str(BIN / "mcp-server-git"), "--repository", str(repository)],
        "writes" if may_write else "reads": [str(repository)],
    }
    freeze_arm(tmp_path / "arms", "git", table, sandbox=sandbox)
    with using(tmp_path / "arms"):
        yield repository


@pytest.fixture
def clock(tmp_path: Path, sandbox: SandboxStatus) -> Iterator[None]:
    """The arm `clock` of mcp-server-time."""
    freeze_arm(tmp_path / "arms", "clock", {"command": [str(BIN / "mcp-server-time")]}, sandbox=sandbox)
    with using(tmp_path / "arms"):
        yield


def attempt(engineer: Engineer, sandbox: SandboxStatus, *, arm: str, action: str, inputs: Any) -> StepResult:
    """Run a step of a task through all concerns of an attempt."""
    step = {"id": "a", "arm": arm, "action": action, "inputs": inputs, "depends_on": []}
    claim = engineer.take(engineer.start(step), "a")
    return run_step(AttemptContext.of(process_of(engineer), claim, sandbox=sandbox))


def signed(engine: Engine, settings: Settings) -> Engineer:
    """Return an engineer whose steps need permits."""
    public = signing_key.public_key_of(KEY)
    return Engineer(engine, replace(settings, permit_private_key=KEY, permit_public_key=public))


def test_a_plan_s_step_reads_a_repository_with_mcp_server_git(
    git: Path, engine: Engine, our_settings: Settings, sandbox: SandboxStatus
) -> None:
    engineer = signed(engine, our_settings)

    result = attempt(
        engineer, sandbox, arm="git", action="git_log", inputs={"repo_path": str(git), "max_count": 1}
    )

    assert result.status is ResultStatus.DONE, result.error
    assert "Write the first note" in result.output["text"]
    assert result.provenance["arm"] == "git"
    assert result.provenance["tools"]["mcp-server"]
    assert result.provenance["isolation"] == sandbox.isolation


@pytest.mark.slow
def test_mcp_server_git_writes_the_repository_that_its_manifest_names_and_no_other(
    git: Path, tmp_path: Path, sandbox: SandboxStatus
) -> None:
    if sandbox.isolation is Isolation.BASIC and os.geteuid() == 0:
        # root's basic sandbox starts no server that may write: tests/integration/test_sandbox_server.py
        return
    (git / "note.txt").write_text("second\n")
    paths = {"repo_path": str(git), "files": ["note.txt"]}
    other = shutil.copytree(git, tmp_path / "other")

    run(assignment("git", "git_add", paths), sandbox=sandbox)
    done = run(assignment("git", "git_commit", {"repo_path": str(git), "message": "Second"}), sandbox=sandbox)

    assert "committed" in done.output["text"]
    log = subprocess.run(
        ["git", "-C", str(git), "log", "--format=%s"], capture_output=True, text=True, check=True
    )
    assert log.stdout.split("\n")[0] == "Second"
    with pytest.raises(ToolFailed):
        run(assignment("git", "git_status", {"repo_path": str(other)}), sandbox=sandbox)


@pytest.fixture
def hanging_commit(git: Path, sandbox: SandboxStatus) -> Assignment:
    """A commit that hangs in a hook of the repository, which notes that it has begun."""
    if sandbox.isolation is Isolation.BASIC and os.geteuid() == 0:
        pytest.fail("root's basic sandbox starts no server that may write: install bubblewrap for this test")
    hook = git / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{git}/begun'\nexec sleep 3600\n")
    hook.chmod(0o755)
    (git / "note.txt").write_text("second\n")
    subprocess.run(["git", "-C", str(git), "add", "note.txt"], check=True)
    return assignment("git", "git_commit", {"repo_path": str(git), "message": "Second"})


@pytest.mark.slow
def test_a_long_call_of_mcp_server_git_is_cancelled_and_nothing_of_it_is_left(
    git: Path, hanging_commit: Assignment, sandbox: SandboxStatus
) -> None:
    def stop() -> None:
        wait_until((git / "begun").exists, 60, "the commit's hook")
        hanging_commit.cancelled.set()

    threading.Thread(target=stop, daemon=True).start()

    with pytest.raises(Stopped):
        run(hanging_commit, sandbox=sandbox)

    wait_until(lambda: not servers_here(), 30, "the end of the server and of its hook")


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_commit_leaves_its_outcome_unknown(
    git: Path, hanging_commit: Assignment, sandbox: SandboxStatus
) -> None:
    def kill() -> None:
        wait_until((git / "begun").exists, 60, "the commit's hook")
        for pid in servers_here():
            os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()

    with pytest.raises(OutcomeUnknown):
        run(hanging_commit, sandbox=sandbox)


@pytest.mark.slow
def test_a_tool_of_mcp_server_git_that_differs_from_the_frozen_one_is_not_called(
    git: Path, tmp_path: Path, sandbox: SandboxStatus
) -> None:
    arm = McpArm(tmp_path / "arms" / "git")
    arm.approve([{**tool, "description": "as it was last year"} for tool in arm.frozen()])

    with using(tmp_path / "arms"), pytest.raises(ToolChanged):
        run(assignment("git", "git_log", {"repo_path": str(git)}), sandbox=sandbox)


@pytest.mark.slow
def test_the_example_s_plan_reads_writes_after_an_approval_and_verifies(
    git: Path, sandbox: SandboxStatus
) -> None:
    record = json.loads((EXAMPLE / "plan.json").read_text().replace("/srv/repo", str(git)))

    plan = check_plan(record)

    assert [step.approval is not None for step in plan.steps] == [False, True, False]
    for step in plan.steps:
        output = run(assignment("git", step.action, step.inputs), sandbox=sandbox).output
        for criterion in step.acceptance_criteria:
            assert str(criterion["check"]["contains"]) in output["text"]


@pytest.mark.usefixtures("clock")
def test_mcp_server_time_answers_with_a_structured_value(sandbox: SandboxStatus) -> None:
    given = {"source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo"}

    result = run(assignment("clock", "convert_time", given), sandbox=sandbox)

    assert result.output["structured"]["time_difference"] in ("+7.0h", "+8.0h")


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_mcp_server_time_that_was_killed_is_started_again(sandbox: SandboxStatus) -> None:
    given = {"timezone": "Europe/Berlin"}
    run(assignment("clock", "get_current_time", given), sandbox=sandbox)
    servers = servers_here()

    for pid in servers:
        os.kill(pid, signal.SIGKILL)

    assert servers
    assert run(assignment("clock", "get_current_time", given), sandbox=sandbox).output["structured"]
    CONNECTIONS.close()
    assert servers_here() == []


def servers_here() -> list[int]:
    """Return the pids of this process' MCP servers and what they have started, without their sandboxes."""
    names = ("mcp-server-time", "mcp-server-git", "sleep\x003600")
    ours = ("bwrap", "octollm-sandbox")
    lines = {pid: command_of(pid) for pid in tree_of(os.getpid())}
    return [
        pid
        for pid, line in lines.items()
        if any(name in line for name in names) and not any(name in line for name in ours)
    ]


def command_of(pid: int) -> str:
    """Return the command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""

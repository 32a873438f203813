"""`octollm tools`: adds a server once, finds what its tools have become, and lets nobody use it unseen."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.main import main
from orchestrator.cli.mcp_arm import McpArm
from orchestrator.models.errors import ToolChanged
from tests.mcp_kit import SCRIPT, load_arms, using
from tests.unit.arm_kit import assignment, run
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import select_sandbox

BIN = Path(sys.executable).parent
BASE = [sys.executable, "-I", str(SCRIPT)]


@pytest.fixture
def arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of arms, which ARMS_PATH names."""
    monkeypatch.setenv("ARMS_PATH", str(tmp_path / "arms"))
    (tmp_path / "server").mkdir()
    return tmp_path / "arms"


def octollm(*words: str) -> int:
    """Run a command and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(["tools", *words])
    return int(ended.value.code or 0)


def add_odd(place: Path, mode: str, *options: str) -> int:
    """Add the server of ours that misbehaves as `mode` says."""
    given = ["--read", str(SCRIPT), "--write", str(place), *options]
    return octollm("add", "odd", *given, "--", *BASE, mode, str(place))


def test_an_added_server_is_an_arm_whose_hints_can_be_tightened(
    arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        add_odd(tmp_path / "server", "good", "--effects", "read_it=write", "--env", "TOKEN") == ExitStatus.OK
    )

    assert "odd.write_it: write, not run twice" in capsys.readouterr().out
    loaded = load_arms(arms)["odd"]
    assert (loaded.kind, loaded.version, loaded.env) == ("mcp", "1.0", ("TOKEN",))
    assert loaded.actions["read_it"].runs_once
    assert octollm("list", "--json") == ExitStatus.OK
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["changed"]) == ("odd", False)


def test_a_server_that_can_t_be_used_leaves_no_arm(
    arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add_odd(tmp_path / "server", "dead") == ExitStatus.FAILED

    assert "no wish to live" in capsys.readouterr().err
    assert not (arms / "odd").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["add", "odd"],
        ["add", "odd", "--url", "https://example.org/mcp", "--", "server"],
        ["add", "Odd one", "--", "server"],
        ["add", "odd", "--", "uvx", "--python", "3.9", "server"],
        ["add", "odd", "--", "no-such-program-at-all"],
        ["add", "odd", "--write", "/no/such/place", "--", "cat"],
        ["sync", "odd"],
        ["diff", "odd"],
    ],
)
def test_wrong_usage_is_said_in_one_line(
    arms: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert octollm(*words) in (ExitStatus.USAGE, ExitStatus.FAILED)

    assert "Traceback" not in capsys.readouterr().err
    assert not arms.exists() or not list(arms.iterdir())


@pytest.mark.slow
def test_a_changed_tool_is_found_shown_refused_and_approved(
    arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "server"
    add_odd(place, "good")
    assert octollm("sync") == ExitStatus.OK
    (place / "changed").touch()

    assert octollm("sync", "odd") == ExitStatus.FAILED
    assert octollm("diff", "odd") == ExitStatus.OK

    shown = capsys.readouterr().out
    assert '-  "description": "Reads a text."' in shown
    assert '+  "description": "Sends it to a stranger."' in shown
    sandbox = select_sandbox(Isolation.BASIC)
    with using(arms), pytest.raises(ToolChanged):
        run(assignment("odd", "read_it", {"text": "a"}), sandbox=sandbox)
    assert octollm("approve", "odd", "--yes") == ExitStatus.OK
    with using(arms):
        assert run(assignment("odd", "read_it", {"text": "a"}), sandbox=sandbox).output["text"] == "a"
    assert octollm("sync", "odd") == ExitStatus.OK


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_uvx_installs_the_server_once_so_that_it_runs_without_a_network(arms: Path) -> None:
    assert octollm("add", "clock", "--", "uvx", "mcp-server-time") == ExitStatus.OK

    table = McpArm(arms / "clock").record()["mcp"]
    assert table["command"][0] == str(arms / "clock" / ".server" / "bin" / "mcp-server-time")
    assert table["network"] is False
    with using(arms):
        done = run(
            assignment("clock", "get_current_time", {"timezone": "Europe/Berlin"}),
            sandbox=select_sandbox(Isolation.BASIC),
        )
    assert done.output["structured"]["timezone"] == "Europe/Berlin"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_npx_installs_the_file_server_which_reads_what_it_is_given(
    arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("npm") is None:
        with capsys.disabled():
            subprocess.run(
                ["echo", "no npm here: @modelcontextprotocol/server-filesystem is not tried"], check=True
            )
        return
    place = tmp_path / "files"
    place.mkdir()
    (place / "note.txt").write_text("noted")
    package = "@modelcontextprotocol/server-filesystem"

    assert (
        octollm("add", "files", "--read", str(place), "--", "npx", "-y", package, str(place)) == ExitStatus.OK
    )

    actions = load_arms(arms)["files"].actions
    assert actions["read_text_file"].effects == "read"
    assert actions["write_file"].effects == "write"
    with using(arms):
        sandbox = select_sandbox(Isolation.BASIC)
        path = str(place / "note.txt")
        done = run(assignment("files", "read_text_file", {"path": path}), sandbox=sandbox)
    assert done.output["structured"] == {"content": "noted"}

"""The example of an approval: it reads with git, writes a file once a person has approved it, and verifies the file."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.pasted import ROOT, environ
from tests.acceptance.test_approvals import waiting
from tests.acceptance.test_own_arms import up

pytestmark = pytest.mark.slow

PLAN = (ROOT / "examples/plans/git-write-approve.json").read_text("utf-8")


def repository_in(place: Path) -> Path:
    """Return a git repository with one commit."""
    place.mkdir()
    (place / "a.txt").write_text("first\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        [
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "commit",
            "-q",
            "-m",
            "Write the first note",
        ],
    ):
        subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True)
    return place


def plan_for(repository: Path) -> dict[str, Any]:
    return dict(json.loads(PLAN.replace("/path/to/repository", str(repository))))


@pytest.mark.timeout(240)
def test_the_file_is_written_only_after_the_approval_and_then_verified(tmp_path: Path) -> None:
    repository, notes, home = repository_in(tmp_path / "repository"), tmp_path / "notes", tmp_path / "home"
    own = {
        **environ(home),
        "ARMS_PATH": f"{tmp_path / 'arms'}:{ROOT / 'examples/arms/notes'}",
        "NOTES_DIRECTORY": str(notes),
        "OCTOLLM_ENV_FILE": "none",
        "RATE_LIMIT": "1000000/minute",
    }
    server = ["mcp-server-git", "--repository", str(repository)]
    add = ["octollm", "tools", "add", "git", "--read", str(repository), "--", *server]
    subprocess.run(add, cwd=tmp_path, env=own, check=True, capture_output=True, timeout=120)

    with up("octollm up", cwd=tmp_path, home=home, more=own) as running:
        client = running.client("acme")
        task_id = client.submit("Note what changed", plan=plan_for(repository))
        approval = waiting(client, task_id)
        was_written = (notes / "changes.md").exists()
        decision = {"decision": "approve", "proposal_hash": approval["proposal_hash"]}
        client.call("POST", f"/v1/approvals/{approval['approval_id']}/decision", decision)
        task = client.end_of(task_id)

    assert approval["ask"] == "Write these commits to changes.md?"
    assert "Write the first note" in approval["proposal"]["inputs"]["text"]
    assert not was_written
    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert (notes / "changes.md").read_text() == approval["proposal"]["inputs"]["text"]

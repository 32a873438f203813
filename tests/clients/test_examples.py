"""What the clients' pages and the notebook show is run, as it is written, against a running stack."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from octollm_client import Client
from orchestrator.devserver.stack import Stack
from tests.acceptance.plans import collect, verify

ROOT = Path(__file__).parents[2]
README = ROOT / "clients" / "python" / "README.md"
HOW_TO = ROOT / "docs" / "how-to" / "use-the-clients.md"
NOTEBOOK = ROOT / "examples" / "follow_a_task.ipynb"


def blocks(page: Path) -> list[str]:
    """Return the Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def folder(stack: Stack, api_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of an example's reader, and its environment."""
    shutil.copy(ROOT / "examples" / "manual.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTOLLM_URL", stack.url)
    monkeypatch.setenv("OCTOLLM_API_KEY", api_key)
    return tmp_path


@pytest.mark.parametrize(
    ("page", "number", "shown"),
    [
        (README, 0, "The refund takes three days."),
        (README, 1, "task.completed"),
        (README, 2, "When is a delivery late?\n"),
        (README, 3, "may it? "),
        (README, 4, "to fail would run ['v']"),
        (HOW_TO, 0, "The refund takes three days."),
        (HOW_TO, 1, "task.completed"),
    ],
)
def test_a_recipe_runs(
    page: Path, number: int, shown: str, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = {"ask": "may it?"}
    gated = client.tasks.submit("ask", plan={"steps": [collect("a", [1], approval=gate)]})
    failed = client.tasks.submit("to fail", plan={"steps": [verify("v", 1, {"pointer": "", "equals": 2})]})
    client.tasks.wait(failed["task_id"])
    for event in client.tasks.events(gated["task_id"]):
        if event["type"] == "approval.requested":
            break

    exec(compile(blocks(page)[number], f"{page.name} block {number}", "exec"), {"__name__": "__main__"})

    assert shown in capsys.readouterr().out


def test_every_block_is_run() -> None:
    assert (len(blocks(README)), len(blocks(HOW_TO))) == (5, 2)


def test_the_notebook_runs_from_its_first_cell_to_its_last(capsys: pytest.CaptureFixture[str]) -> None:
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}

    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)

    assert NOTEBOOK.stat().st_size < 8192
    assert "The refund takes three days." in capsys.readouterr().out

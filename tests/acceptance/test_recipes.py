"""Goals as people word them, without a model: the answer that the command prints is worth reading."""

import json
from pathlib import Path

from orchestrator.devserver.stack import Stack
from tests.acceptance.pasted import paste


def run(stack: Stack, place: Path, script: str) -> str:
    """Run a script in a directory; return what it printed, which must be nothing on stderr."""
    done = paste(f"set +e\n{script}\n", url=stack.url, home=stack.home, cwd=place)
    assert done.stderr == "", done.stderr
    return done.stdout


def test_todos_and_lines_are_found_with_their_numbers(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("x = 1\n\n# TODO: tidy up\n")
    (tmp_path / "code" / "b.py").write_text("# FIXME later\n")

    todos = run(stack, tmp_path, 'octollm run "Find all TODOs" --attach code --no-watch')
    named = run(
        stack,
        tmp_path,
        "octollm run --recipe find-lines -p pattern='^x = [0-9]' --attach code --no-watch --json",
    )

    assert "  a.py:3: # TODO: tidy up\n    b.py:1: # FIXME later\n" in todos
    assert "| a.py | 1 |" in todos
    task = json.loads(named)
    assert task["result"]["data"] == [{"file": "a.py", "line": 1, "quote": "x = 1"}]
    assert task["verdict"]["decision"] == "passed"

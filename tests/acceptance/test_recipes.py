"""Goals as people word them, without a model: the answer that the command prints is worth reading."""

import json
from pathlib import Path

import pytest

from orchestrator.devserver.stack import Stack
from tests.acceptance.pasted import paste


def run(stack: Stack, place: Path, script: str) -> str:
    """Run a script in a directory; return what it printed, which must be nothing on stderr."""
    done = paste(f"set +e\n{script}\n", url=stack.url, home=stack.home, cwd=place)
    assert done.stderr == "", done.stderr
    return done.stdout


def test_goals_without_a_model_get_answers_that_can_be_read(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("id,price\n1,0.10\n2,0.20\n")
    (tmp_path / "new.csv").write_text("id;price\n1;0.15\n3;0.30\n")
    (tmp_path / "old.txt").write_text("one\ntwo\n")
    (tmp_path / "new.txt").write_text("one\n2\n")
    (tmp_path / "faq.md").write_text(
        "# Returns\n\nA refund takes five days.\n\nA gift card is not refunded.\n"
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.md").write_text("[b](b.md) [c](c.md#x) [web](https://example.com)\n")
    (tmp_path / "site" / "c.md").write_text("# x\n")

    def ask(goal: str) -> str:
        return run(stack, tmp_path, f"octollm run --no-watch {goal}")

    tables = ask("'Compare these two CSV files' --attach old.csv --attach new.csv")
    texts = ask("'Compare these two documents' --attach old.txt --attach new.txt")
    refund = ask("'How long does a refund take?' --attach faq.md")
    counted = ask("""'Sum up the column "price"' --attach old.csv""")
    made = ask("'Turn this CSV into a Markdown table' --attach old.csv --out made 2>/dev/null")
    links = ask("'Are there broken links in these documents?' --attach site")

    assert "| id=1 | price | 0.10 | 0.15 |" in tables
    assert "added:\n    | id | price |\n    | --- | --- |\n    | 3 | 0.30 |" in tables
    assert "1 row added, 1 removed, 1 cell changed, compared by id" in tables
    assert "    -two\n    +2\n" in texts
    assert "mode: extractive" in refund
    assert "faq.md:3: A refund takes five days." in refund
    assert "| old.csv | price | 0.2 | 0.1 | 0.3 | 0.15 | 2 | 0 |" in counted
    assert "a.md:1: b.md: there is no b.md" in links
    assert "| 2 | 0.20 |" in made
    assert (tmp_path / "made" / "old.md").read_text().endswith("| 2 | 0.20 |\n")
    for printed in (tables, texts, refund, counted, links, made):
        assert "Verdict: passed" in printed


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


@pytest.mark.slow
def test_a_package_is_tested_or_linted_and_no_more(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "test_sum.py").write_text("def test_sum() -> None:\n    assert 1 + 1 == 2\n")
    (tmp_path / "bad.py").write_text("import os\n")

    tested = run(stack, tmp_path, 'octollm run "Run the tests" --attach code --no-watch')
    clean = run(stack, tmp_path, 'octollm run "Lint this package" --attach code --no-watch')
    found = run(stack, tmp_path, 'octollm run "Lint this" --attach bad.py --no-watch --json')

    assert "Verdict: passed" in tested
    assert "  passed: 1\n" in tested
    assert "Verdict: passed" in clean
    assert "  finding_count: 0\n" in clean
    task = json.loads(found)
    assert task["verdict"]["decision"] == "failed"
    assert task["result"]["data"]["findings"][0]["line"] == 1


PLAN = """
steps:
  - {id: todos, plan: find-todos}
  - {id: size, plan: measure}
result: {count: {$from: todos, pointer: /values/by_file/0/lines}, words: {$from: size, pointer: /values/total/words}}
"""


def test_recipes_are_parts_of_plans_and_an_operator_s_recipe_is_used(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("INFO started\nERROR disk full\nINFO # TODO rotate\n")
    (tmp_path / "plan.yaml").write_text(PLAN)

    printed = run(
        stack,
        tmp_path,
        "octollm run 'Two in one' --plan plan.yaml --attach server.log --no-watch; "
        "octollm run 'Report on this log' --attach server.log --no-watch; "
        "octollm run --recipe log-report -p level=DEBUG --attach server.log --no-watch 2>&1; "
        "octollm list --recipe log-report --since 1h; octollm recipes",
    )

    assert "  count: 1\n  words: 8\n" in printed
    assert "server.log:2: ERROR disk full" in printed
    assert "parameters.level: must be one of" in printed
    assert '-p level=ERROR|WARN|INFO (default "ERROR")' in printed

"""Goals that need a model, as new users send them, on the whole product with the scripted server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.model_stack import asking
from tests.acceptance.user_goals import EXPLAIN, WRITE_TESTS, UserGoal
from tests.fake_llm.server import FakeLLM

pytestmark = pytest.mark.slow

TESTS = """--- /dev/null
+++ b/test_prices.py
@@ -0,0 +1,10 @@
+import pytest
+from prices import total
+
+
+def test_a_discount_is_taken_off():
+    assert total([10, 10], 0.5) == 10
+
+def test_a_discount_above_one_is_refused():
+    with pytest.raises(ValueError):
+        total([1], 2)
"""
SUM = UserGoal("Write a program that adds up the prices, lint it and run it", {"prices.csv": b"10\n20\n30\n"})
LINE = "return sum(prices) * (1 - discount)"


def program(expression: str) -> str:
    """Return a patch that adds a program that prints `expression` of `prices`, and a test of it."""
    return f"""--- /dev/null
+++ b/report.py
@@ -0,0 +1,6 @@
+import sys
+
+
+if __name__ == "__main__":
+    prices = [int(line) for line in open(sys.argv[1])]
+    print({expression})
--- /dev/null
+++ b/test_report.py
@@ -0,0 +1,2 @@
+def test_it_can_be_imported():
+    import report  # noqa: F401
"""


def three_steps(instruction: str) -> dict[str, Any]:
    """Return a plan that generates a program, lints it and runs it on the prices."""
    package = {"$file": {"from": "make", "name": "package.tar.gz"}}
    clean = {"text": "The linter finds nothing", "check": {"pointer": "/finding_count", "equals": 0}}
    sums = {"text": "The sum is right", "check": {"pointer": "/stdout", "contains": "60"}}
    steps = [
        {"action": "coder.generate", "id": "make", "inputs": {"instruction": instruction}},
        {
            "action": "executor.lint",
            "id": "lint",
            "inputs": {"attachment": package},
            "acceptance_criteria": [clean],
        },
        {
            "action": "executor.script",
            "id": "run",
            "inputs": {"attachments": [package, "prices.csv"], "script": "report.py", "args": ["prices.csv"]},
            "acceptance_criteria": [sums],
        },
    ]
    answer = {"$from": "run", "pointer": "/stdout"}
    return {"rationale": "make, lint, run", "confidence": 0.9, "steps": steps, "result": answer}


@pytest.fixture(scope="module")
def asker(fake: FakeLLM) -> Iterator[Client]:
    """A client of a stack whose only model is the scripted one."""
    with asking(fake) as running:
        yield client_of(running, tenant="acme")


def sent(client: Client, goal: UserGoal) -> dict[str, Any]:
    """Run a goal with its files, as a user does who sets nothing else."""
    files = [client.upload(content, filename=name) for name, content in goal.files.items()]
    return client.run(goal.goal, attachments=files)


def planned(fake: FakeLLM, action: str, inputs: dict[str, Any], result: str) -> None:
    """Let the model plan one action, whose output `result` points into."""
    step = {"action": action, "id": "work", "inputs": inputs, "depends_on": []}
    shown = {"text": "There is an answer", "check": {"pointer": result, "exists": True}}
    plan = {
        "rationale": "one action does it",
        "confidence": 0.9,
        "steps": [{**step, "description": "", "acceptance_criteria": [shown]}],
        "result": {"$from": "work", "pointer": result},
    }
    fake.answer(plan, match="Plan this task")


def test_a_function_is_explained(asker: Client, fake: FakeLLM) -> None:
    planned(fake, "coder.explain", {"question": "What does this function do?"}, "/explanation")
    place = {"file": "prices.py", "line": 8, "quote": LINE}
    fake.answer(
        {"explanation": "It sums prices and takes the discount off.", "places": [place]}, match="You explain"
    )

    task = sent(asker, EXPLAIN)

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert task["result"]["output"].startswith("It sums prices and takes the discount off.")


def test_unit_tests_are_written_run_and_handed_out(asker: Client, fake: FakeLLM) -> None:
    planned(fake, "coder.generate", {"instruction": "Write unit tests for prices.py"}, "/patch")
    fake.answer({"patch": TESTS, "explanation": "Two tests."}, match="You change Python code")

    task = sent(asker, WRITE_TESTS)

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert "+def test_a_discount_is_taken_off():" in task["result"]["output"]
    assert task["result"]["artifacts"] != []


def test_the_next_task_like_it_is_told_how_the_first_was_planned(asker: Client, fake: FakeLLM) -> None:
    step = {
        "action": "retriever.search",
        "id": "find",
        "inputs": {"query": "discount"},
        "acceptance_criteria": [{"text": "Found", "check": {"pointer": "/found", "at_least": 1}}],
    }
    fake.answer(*[{"rationale": "search", "confidence": 0.9, "steps": [step]}] * 2, match="Plan this task")
    fake.answer({"same": False, "reason": "another file"}, match="Are they the same?")
    files = EXPLAIN.files
    first = sent(asker, UserGoal("List the places in this program where prices change", files))

    second = sent(asker, UserGoal("List the places in this program where discounts change", files))

    plan = next(item["data"] for item in asker.trace(second["task_id"]) if item["kind"] == "plan")
    assert [hint["task_id"] for hint in plan["provenance"]["hints"]] == [first["task_id"]]


def test_a_generated_program_is_linted_and_run_and_made_again_when_it_is_wrong(
    asker: Client, fake: FakeLLM
) -> None:
    fake.answer(three_steps("Write report.py"), match="Plan this task")
    fake.answer({"patch": program("max(prices)"), "explanation": "so"}, match="You change Python code")
    fake.answer(three_steps("Write report.py; it must print the sum"), match="Plan the task again.")
    fake.answer({"patch": program("sum(prices)"), "explanation": "so"}, match="You change Python code")

    task = sent(asker, SUM)

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert task["result"]["output"].strip() == "60"
    assert sum(item["kind"] == "plan" for item in asker.trace(task["task_id"])) == 2
    assert "package.tar.gz" in {file["name"] for file in task["result"]["artifacts"]}

"""A task with a model on the whole product: the fake server speaks the provider's protocol and is marked as fake."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.devserver.stack import Stack
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm, client_of
from tests.acceptance.model_stack import asking
from tests.fake_llm.command import read_script
from tests.fake_llm.server import FakeLLM, Scripted
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
MANUAL = (EXAMPLES / "manual.md").read_bytes()
GOAL = "When is a late delivery refunded?"
CRITERION = "It says how long the refund takes"
PLAN, ANSWER, VERDICT = read_script(EXAMPLES / "fake_model.json")


@pytest.fixture(autouse=True)
def _nothing_is_scripted(fake: FakeLLM) -> None:
    fake.forget()


@pytest.fixture(scope="module")
def model_stack(fake: FakeLLM, crash_points: Path) -> Iterator[Stack]:
    """A stack whose only model is the fake one."""
    with asking(
        fake, {crash_point.VARIABLE: str(crash_points)}, LEASE_SECONDS="8", HEARTBEAT_SECONDS="1"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(model_stack: Stack) -> Client:
    """A client of the stack."""
    return client_of(model_stack, tenant="acme")


def asked(client: Client, **more: Any) -> dict[str, Any]:
    """Run the goal with the cache bypassed."""
    manual = client.upload(MANUAL, filename="manual.md")
    again: dict[str, Any] = {
        "attachments": [manual],
        "acceptance_criteria": [CRITERION],
        "cache": {"mode": "bypass"},
    }
    return client.run(GOAL, **again, **more)


def test_a_task_is_planned_done_and_judged_by_a_model_within_the_default_budget(
    client: Client, fake: FakeLLM
) -> None:
    fake.add(PLAN, ANSWER, VERDICT)

    task = asked(client)

    assert task["status"] == "completed", task
    assert task["result"]["validation_passed"] is True
    assert "It takes three days. [manual.md:4]" in task["result"]["output"]
    assert 0 < task["metadata"]["tokens_used"] < 10_000
    trace = client.trace(task["task_id"])
    plan = next(item for item in trace if item["kind"] == "plan")["data"]
    models = [item["data"] for item in trace if item["kind"] == "model"]
    assert (plan["mode"], plan["provenance"]["prompt"]) == ("llm", "planner@2.2.0")
    assert {item["purpose"] for item in models} == {
        "planner@2.2.0",
        "retriever.answer@1.1.0",
        "judge.rubric@1.1.0",
    }
    assert all(item["fake"] for item in models)
    verdict = next(item for item in trace if item["kind"] == "verdict")["data"]
    checked = {item["criterion"]: item["checked_by"] for item in verdict["findings"]}
    assert (checked[CRITERION], checked["Every quote stands"]) == ("llm", "rule")


def test_a_task_that_exhausts_its_budget_fails_with_its_finished_outputs(
    client: Client, fake: FakeLLM
) -> None:
    fake.add(replace(PLAN, input_tokens=48_000, output_tokens=900))

    task = asked(client, budget={"max_tokens": 50_000})

    assert (task["status"], task["error"]["code"]) == ("failed", "budget_exceeded"), task
    assert "max_tokens" in task["error"]["message"]
    assert task["result"]["partial"] is True
    assert "search" in task["result"]["data"]
    assert task["metadata"]["tokens_used"] == 48_900


def test_a_criterion_that_the_judges_model_can_not_prove_is_not_passed(client: Client, fake: FakeLLM) -> None:
    unshown = str(VERDICT.text).replace("takes three days", "takes two days")
    fake.add(PLAN, ANSWER, replace(VERDICT, text=unshown))

    task = asked(client)

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", False)
    assert any("not checked" in warning for warning in task["result"]["warnings"])


def patch_of(answer: int) -> dict[str, str]:
    """Return a model's patch with a script, a test that it passes, and a table that the script writes."""
    files = {
        "table.py": [
            "import os",
            "import pathlib",
            "ANSWER = " + str(answer),
            "if __name__ == '__main__':",
            "    out = pathlib.Path(os.environ['OCTOLLM_OUT'])",
            "    (out / 'table.csv').write_text(f'answer\\n{ANSWER}\\n')",
            "    print(ANSWER)",
        ],
        "test_table.py": ["import table", "def test_it():", "    assert table.ANSWER > 0"],
    }
    parts = [
        "\n".join(
            ["--- /dev/null", f"+++ b/{name}", f"@@ -0,0 +1,{len(lines)} @@", *(f"+{line}" for line in lines)]
        )
        for name, lines in files.items()
    ]
    return {"patch": "\n".join(parts) + "\n", "explanation": "a table"}


def test_generated_code_is_linted_run_and_repaired_and_its_files_are_the_result(
    client: Client, fake: FakeLLM
) -> None:
    """The first code is accepted by its own test and prints the wrong answer: the judge has it written again."""
    fake.answer(patch_of(41), patch_of(42), match="You change Python code")
    package = {"$file": {"from": "write", "name": "package.tar.gz"}}
    right = {"text": "It prints 42", "check": {"step": "run", "pointer": "/stdout", "equals": "42\n"}}
    clean = {"text": "ruff finds nothing", "check": {"pointer": "/finding_count", "equals": 0}}
    write = {"arm": "coder", "action": "generate", "inputs": {"instruction": "Write a table"}}
    lint = {"arm": "executor", "action": "lint", "inputs": {"attachment": package}}
    run = {
        "arm": "executor",
        "action": "script",
        "inputs": {"attachments": [package], "script": "table.py"},
    }
    steps = [
        {"id": "write", **write, "acceptance_criteria": [right]},
        {"id": "lint", **lint, "acceptance_criteria": [clean]},
        {"id": "run", **run},
    ]

    task = client.run("Write a table and check it", plan={"steps": steps}, cache={"mode": "bypass"})

    assert (task["status"], task["metadata"]["repairs"]) == ("completed", 1), task
    listed = {file["name"]: file for file in task["result"]["artifacts"]}
    assert set(listed) == {"write.patch", "package.tar.gz", "table.csv"}
    assert len(listed) == len(task["result"]["artifacts"])
    assert client.call("GET", f"/v1/files/{listed['table.csv']['artifact_id']}").body == "answer\n42\n"


def test_a_goal_in_other_words_gets_the_earlier_result(
    model_stack: Stack, client: Client, fake: FakeLLM
) -> None:
    manual = client.upload(MANUAL, filename="manual.md")
    search = {**json.loads(str(PLAN.text))["steps"][0], "inputs": {"query": "refund", "limit": 12}}
    fake.answer({"rationale": "search", "confidence": 0.9, "steps": [search]}, match="Plan this task")
    first = client.run("Find the 12 best passages on a refund", attachments=[manual])
    with redis.Redis.from_url(model_stack.redis_url) as cache:
        # the judge's worker fills the index after the commit that a client may see
        wait_until(lambda: cache.keys("octollm:cache:word:*"), 10, "the task to be in the index")
    fake.answer({"same": True, "reason": "both search for the same"}, match="Are they the same?")
    asked_before = len(fake.received)

    second = client.run("Search for the 12 best passages on a refund", attachments=[manual])

    assert [task["status"] for task in (first, second)] == ["completed"] * 2
    assert (second["cache"]["layer"], second["cache"]["source_task_id"]) == ("alias", first["task_id"])
    assert (second["steps"], second["result"]) == (first["steps"], first["result"])
    assert len(fake.received) - asked_before == 1


INVENTORY = {
    "id": "inventory",
    "description": "",
    "arm": "retriever",
    "action": "inventory",
    "inputs": {},
    "depends_on": [],
    "acceptance_criteria": [],
}


def search_for(query: str, step: str) -> dict[str, Any]:
    """Return a step that must find something."""
    search = json.loads(str(PLAN.text))["steps"][0]
    return {**search, "id": step, "inputs": {"query": query}, "depends_on": ["inventory"]}


def test_a_plan_that_finds_nothing_is_made_again_once_and_the_new_one_passes(
    client: Client, fake: FakeLLM
) -> None:
    first = [INVENTORY, search_for("zeppelin", "search")]
    second = [INVENTORY, search_for("refund", "look")]
    fake.answer({"rationale": "", "confidence": 1, "steps": first}, match="Plan this task")
    fake.answer({"rationale": "", "confidence": 1, "steps": second}, match="Plan the task again")
    manual = client.upload(MANUAL, filename="manual.md")

    task = client.run("Where are airships mentioned?", attachments=[manual])
    repeated = client.run("Where are airships mentioned?", attachments=[manual])

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert (repeated["cache"]["layer"], repeated["steps"]) == ("exact", task["steps"])
    assert [(step["step_id"], step["status"], step["round"]) for step in task["steps"]] == [
        ("inventory", "done", 1),
        ("look", "done", 2),
    ]
    kinds = [event["type"] for event in client.events(task["task_id"])]
    assert (kinds.count("task.planned"), kinds.count("task.replan"), kinds.count("judge.verdict")) == (
        2,
        1,
        2,
    )
    assert (task["metadata"]["repairs"], task["metadata"]["replans"]) == (0, 1)
    decision = next(item for item in client.trace(task["task_id"]) if item["kind"] == "replan")["data"]
    assert (decision["arms"], decision["effects"]) == (["retriever"], "read")


def test_a_plan_that_only_leaves_steps_out_runs_no_step(client: Client, fake: FakeLLM) -> None:
    first = [INVENTORY, search_for("refund", "look"), search_for("zeppelin", "search")]
    fake.answer({"rationale": "", "confidence": 1, "steps": first}, match="Plan this task")
    fake.answer({"rationale": "", "confidence": 1, "steps": first[:2]}, match="Plan the task again")
    manual = client.upload(MANUAL, filename="manual.md")

    task = client.run("Where are refunds mentioned?", attachments=[manual], cache={"mode": "bypass"})

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert [(step["step_id"], step["round"]) for step in task["steps"]] == [("inventory", 1), ("look", 1)]


PAUSE = {
    "id": "pause",
    "description": "",
    "arm": "executor",
    "action": "wait",
    "inputs": {"seconds": 2},
    "depends_on": [],
    "acceptance_criteria": [],
}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process do nothing inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("judge", Point.COMMITTED_NOT_PUBLISHED),
        ("planner", Point.MID_STATEMENT),
        ("planner", Point.COMMITTED_NOT_PUBLISHED),
    ],
)
def test_a_process_that_dies_while_a_task_is_planned_again_loses_nothing(
    model_stack: Stack, client: Client, fake: FakeLLM, arm: Arm, *, kind: str, point: Point
) -> None:
    """The judge dies before it publishes the planner's row, the planner before or after it saves the second round."""
    first = [INVENTORY, PAUSE, {**search_for("zeppelin", "search"), "depends_on": ["pause"]}]
    second = [INVENTORY, search_for("refund", "look")]
    fake.answer({"rationale": "", "confidence": 1, "steps": first}, match="Plan this task")
    again = json.dumps({"rationale": "", "confidence": 1, "steps": second})
    fake.add(Scripted(again, match="Plan the task again", stays=True))
    manual = client.upload(MANUAL, filename="manual.md")
    task_id = client.submit("Where are airships mentioned?", attachments=[manual], cache={"mode": "bypass"})

    def told(wanted: str, times: int = 1) -> bool:
        return [event["type"] for event in client.events(task_id)].count(wanted) >= times

    wait_until(lambda: told("task.planned"), 30, "the first plan")
    (pid,) = model_stack.pids(kind)
    until, times = ("step.completed", 3) if kind == "judge" else ("task.replan", 1)
    with stopped(pid):
        wait_until(lambda: told(until, times), 30, f"{until} of the first round")
        died = arm(point)

    assert died() == pid
    task = client.end_of(task_id)
    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    events = client.events(task_id)
    done = Counter(event["data"]["step"] for event in events if event["type"] == "step.completed")
    assert done == Counter(["inventory", "pause", "search", "look"])
    kinds = Counter(event["type"] for event in events)
    assert (kinds["task.planned"], kinds["task.replan"], kinds["judge.verdict"]) == (2, 1, 2)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    wait_until(lambda: len(model_stack.pids(kind)) == 1, 40, f"{kind} to be back")

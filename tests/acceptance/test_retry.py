"""Real processes retry a failed task: finished steps are not run twice."""

import os
import signal
from functools import partial

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref, verify, wait
from tests.acceptance.proc import owner_of, row_of
from tests.waiting import wait_until


def test_a_retry_runs_only_unfinished_steps(stack: Stack, client: Client) -> None:
    plan = [
        collect("first", [1, 2]),
        collect("second", ref("first", "/values/1"), "first"),
        verify("third", ref("second", "/values"), {"at_least": 3}, depends_on=["second"]),
    ]
    failed = client.run(plan={"steps": plan})

    again = client.end_of(_retry(client, failed["task_id"]))
    from_start = client.end_of(_retry(client, failed["task_id"], from_step="first"))

    assert [task["status"] for task in (failed, again, from_start)] == ["failed"] * 3
    assert _attempts(again) == {"first": 0, "second": 0, "third": 1}
    assert _attempts(from_start) == {"first": 1, "second": 1, "third": 1}
    assert again["steps"][2]["error"]["code"] == failed["steps"][2]["error"]["code"]
    assert again["metadata"]["tokens_used"] == 0


def test_a_retry_of_a_fully_finished_task_is_only_judged_again(stack: Stack, client: Client) -> None:
    """A round without steps to run: its chord is ready as soon as it is opened."""
    completed = client.run(plan={"steps": [collect("only", 1)]})

    again = client.end_of(_retry(client, completed["task_id"]))

    assert again["status"] == "completed"
    assert again["result"]["data"] == completed["result"]["data"]
    assert [event["type"] for event in client.events(again["task_id"])].count("judge.verdict") == 1
    assert "retried" in [entry["kind"] for entry in client.trace(completed["task_id"])]


@pytest.mark.slow
@pytest.mark.usefixtures("whole_again")
def test_a_step_that_kills_its_worker_thrice_is_given_up_listed_and_replayed(
    stack: Stack, client: Client, database: Engine
) -> None:
    task_id = client.submit(plan={"steps": [collect("first", 1), wait("deadly", 2, "first")]})
    for attempt in (1, 2, 3):
        wait_until(
            partial(_is_at, database, task_id, attempt),
            30,
            f"attempt {attempt}",
        )
        os.kill(owner_of(database, task_id, "deadly"), signal.SIGKILL)

    failed = client.end_of(task_id)
    (dead,) = client.call("GET", "/v1/dead-steps").body["steps"]
    again = client.end_of(_retry(client, task_id, from_step=dead["step_id"]))

    assert [step["error"] and step["error"]["code"] for step in failed["steps"]] == [None, "poison_step"]
    assert (dead["task_id"], dead["step_id"], dead["kills"]) == (task_id, "deadly", 3)
    assert again["status"] == "completed"
    assert _attempts(again) == {"first": 0, "deadly": 1}
    assert client.call("GET", "/v1/dead-steps").body["steps"][0]["retried_by"] == again["task_id"]


def _retry(client: Client, task_id: str, **body: str) -> str:
    answer = client.call("POST", f"/v1/tasks/{task_id}/retry", body)
    assert answer.status == 202, answer
    return str(answer.body["task_id"])


def _attempts(task: dict[str, object]) -> dict[str, int]:
    steps = task["steps"]
    assert isinstance(steps, list)
    return {step["step_id"]: step["attempt"] for step in steps}


def _is_at(database: Engine, task_id: str, attempt: int) -> bool:
    return bool(row_of(database, task_id, "deadly").get("attempt") == attempt)

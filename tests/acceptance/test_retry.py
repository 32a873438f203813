"""A task that failed is run again by real processes: what had finished is not done twice."""

from orchestrator.devstack.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref, verify


def test_a_retry_does_only_what_had_not_finished(stack: Stack, client: Client) -> None:
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


def test_a_retry_of_what_was_all_done_is_judged_again(stack: Stack, client: Client) -> None:
    """A round with nothing to run: its chord is ready as soon as it is opened."""
    completed = client.run(plan={"steps": [collect("only", 1)]})

    again = client.end_of(_retry(client, completed["task_id"]))

    assert again["status"] == "completed"
    assert again["result"]["data"] == completed["result"]["data"]
    assert [event["type"] for event in client.events(again["task_id"])].count("judge.verdict") == 1
    assert "retried" in [entry["kind"] for entry in client.trace(completed["task_id"])]


def _retry(client: Client, task_id: str, **body: str) -> str:
    answer = client.call("POST", f"/v1/tasks/{task_id}/retry", body)
    assert answer.status == 202, answer
    return str(answer.body["task_id"])


def _attempts(task: dict[str, object]) -> dict[str, int]:
    steps = task["steps"]
    assert isinstance(steps, list)
    return {step["step_id"]: step["attempt"] for step in steps}

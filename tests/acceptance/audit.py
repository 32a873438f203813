"""Checks by a task's events that nothing was lost or counted twice."""

from collections import Counter

from tests.acceptance.client import Client


def assert_completed_once(client: Client, task_id: str, *, steps: list[str]) -> None:
    """Check that the task completed, each step and the judge ended once, and its events have no gap or duplicate."""
    task = client.end_of(task_id, timeout=60)
    events = client.events(task_id)
    completed = Counter(event["data"]["step"] for event in events if event["type"] == "step.completed")
    kinds = Counter(event["type"] for event in events)
    assert task["status"] == "completed", task["error"]
    assert completed == Counter(steps)
    assert (kinds["judge.verdict"], kinds["task.completed"]) == (1, 1)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def reasons(client: Client, task_id: str) -> list[str]:
    """Return the reasons for which workers lost steps of the task."""
    return [event["data"]["reason"] for event in client.events(task_id) if event["type"] == "step.retrying"]

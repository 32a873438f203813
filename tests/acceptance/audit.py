"""Checks by a task's events, or by the auditor of the chaos test, that nothing was lost or counted twice."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Engine

from bench.support.chaos import auditor
from bench.support.chaos.auditor import Violation
from bench.support.chaos.graphs import Wanted
from bench.support.chaos.load import Accepted
from tests.acceptance.client import Client
from tests.ledger import Line


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


def violations_of(
    engine: Engine, task_ids: Iterable[str], *, effects: Sequence[Line] = (), lease_seconds: float
) -> list[Violation]:
    """Return what the auditor finds after a drill whose tasks were all to complete; see auditor.audit."""
    accepted = [Accepted(task_id, Wanted("task", {})) for task_id in task_ids]
    return auditor.audit(engine, accepted, effects=effects, lease_seconds=lease_seconds)

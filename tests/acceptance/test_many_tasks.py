"""Many tasks at once on one instance: all complete, and at least 50 are under way at one instant."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tests.acceptance.client import Client
from tests.acceptance.plans import collect, wait

TASKS = 100


def test_a_hundred_tasks_at_once_all_complete_and_fifty_are_processed_at_one_instant(client: Client) -> None:
    plan = {"steps": [collect("a", 1), collect("b", 2), wait("c", 0.2, "a", "b")]}
    with ThreadPoolExecutor(32) as pool:
        ids = list(pool.map(lambda _: client.submit(plan=plan), range(TASKS)))

    tasks = [client.end_of(task_id, timeout=110) for task_id in ids]

    spans = [_processing(client.events(task_id)) for task_id in ids]
    assert [task["status"] for task in tasks] == ["completed"] * TASKS
    assert len(set(ids)) == TASKS
    assert _most_at_once(spans) >= 50


def _processing(events: list[dict[str, Any]]) -> tuple[datetime, datetime]:
    """Return when work on a task began (its planner claimed it) and when it ended."""
    began = next(event for event in events if event["type"] == "step.started")
    return _at(began), _at(events[-1])


def _at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


def _most_at_once(spans: list[tuple[datetime, datetime]]) -> int:
    return max(sum(began <= instant < ended for began, ended in spans) for instant, _ in spans)

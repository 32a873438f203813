"""Many tasks run at once on one instance, and all complete."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.plans import collect, wait
from tests.waiting import wait_until

TASKS = 100
EXECUTOR_SLOTS = 4


@pytest.mark.slow
def test_a_hundred_tasks_are_processed_at_one_instant_and_all_complete(stack: Stack, client: Client) -> None:
    crowd = client_of(stack, tenant="crowd")
    holders = [client, client_of(stack, tenant="holder")] * (EXECUTOR_SLOTS // 2)
    blockers = [(holder, holder.submit(plan={"steps": [wait("hold", 120)]})) for holder in holders]
    wait_until(lambda: all(_holds(*blocker) for blocker in blockers), 30, "blocked executors")
    plan = {"steps": [collect("a", 1), collect("b", 2), wait("c", 0.05, "a", "b")]}
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda _: crowd.submit(plan=plan), range(TASKS)))

    wait_until(lambda: _processing(crowd) == TASKS, 60, "a hundred tasks under way")
    for holder, task_id in blockers:
        holder.call("POST", f"/v1/tasks/{task_id}/cancel")
    tasks = [crowd.end_of(task_id, timeout=110) for task_id in ids]

    assert len(set(ids)) == TASKS
    assert [task["status"] for task in tasks] == ["completed"] * TASKS


def _holds(client: Client, task_id: str) -> bool:
    """Return whether the task's waiting step has an executor's slot."""
    facts = [(event["type"], event["data"].get("step")) for event in client.events(task_id)]
    return ("step.started", "hold") in facts


def _processing(client: Client) -> int:
    answer = client.call("GET", "/v1/tasks?status=processing&limit=100")
    assert answer.status == 200, answer
    return len(answer.body["tasks"])

"""One tenant's load does not delay another tenant."""

import time
from concurrent.futures import ThreadPoolExecutor

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.plans import wait
from tests.waiting import wait_until

WAITED_SECONDS = 5


def run_beside(stack: Stack, greedy: Client, task_ids: list[str]) -> float:
    """Run a small task of another tenant and return the seconds it took; then cancel the greedy tenant's."""
    small = client_of(stack, tenant="small")
    started_at = time.monotonic()
    task = small.run(plan={"steps": [wait("a"), wait("b", 0, "a")]}, timeout=60)
    seconds = time.monotonic() - started_at
    for task_id in task_ids:
        greedy.call("DELETE", f"/v1/tasks/{task_id}")
    assert task["status"] == "completed"
    return seconds


def started(client: Client, task_id: str) -> bool:
    return any(event["type"] == "step.started" for event in client.events(task_id))


def test_a_small_task_does_not_wait_for_another_tenants_long_steps(stack: Stack) -> None:
    greedy = client_of(stack, tenant="greedy")
    task_ids = [greedy.submit(plan={"steps": [wait(f"w{n}", 100) for n in range(5)]}) for _ in range(2)]
    wait_until(lambda: started(greedy, task_ids[0]), 30, "the long steps to run")

    assert run_beside(stack, greedy, task_ids) < WAITED_SECONDS


def test_a_small_task_does_not_wait_behind_another_tenants_many_short_steps(stack: Stack) -> None:
    greedy = client_of(stack, tenant="greedy")
    plan = {"steps": [wait(f"w{n}", 0.5) for n in range(10)]}
    with ThreadPoolExecutor(8) as pool:
        task_ids = list(pool.map(lambda _: greedy.submit(plan=plan), range(60)))
    wait_until(lambda: started(greedy, task_ids[-1]), 60, "the plans of all tasks")

    assert run_beside(stack, greedy, task_ids) < WAITED_SECONDS

"""The result cache in the running product: fifty equal goals run once, also if the worker that runs it is killed."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.plans import verify
from tests.acceptance.proc import owner_of, row_of

CROWD = 50
GOAL = "Scan the text for secrets and personal data"
CONTEXT = {"text": "Nothing is hidden here."}
SLOW = b"import time\ntime.sleep(4)\nprint(42)\n"


def test_fifty_equal_goals_run_once_and_the_next_is_a_cache_hit(stack: Stack) -> None:
    crowd = client_of(stack, tenant="equals")
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda _: crowd.submit(GOAL, context=CONTEXT), range(CROWD)))
    tasks = [crowd.end_of(task_id) for task_id in ids]

    later = crowd.call("POST", "/v1/tasks", {"goal": f"please, {GOAL.lower()}!", "context": CONTEXT})

    ran = [task for task in tasks if task["cache"] is None]
    assert len(set(ids)) == CROWD
    assert [task["status"] for task in tasks] == ["completed"] * CROWD
    assert len(ran) == 1
    assert ran[0]["steps"]
    assert all(task["result"] == ran[0]["result"] for task in tasks)
    assert (later.status, later.body["status"]) == (202, "completed")
    assert later.headers["Cache-Status"].startswith("octollm; hit; ")


def test_a_step_with_the_same_inputs_as_in_another_task_is_not_run_again(
    client: Client, database: Engine
) -> None:
    inputs = {"values": {"number": 4711}}
    collect = {"id": "collect", "arm": "retriever", "action": "collect", "inputs": inputs}
    contract: dict[str, Any] = {"plan": {"steps": [collect]}, "cache": {"mode": "default"}}
    first = client.run("Collect the number", **contract)

    second = client.run("Collect the number for another report", **contract)

    made = [
        item["data"]["provenance"]
        for task in (first, second)
        for item in client.trace(task["task_id"])
        if item["kind"] == "attempt"
    ]
    assert [task["status"] for task in (first, second)] == ["completed", "completed"]
    assert second["cache"] is None
    assert second["result"]["data"] == first["result"]["data"]
    assert [one.get("memo_of") for one in made] == [None, row_of(database, first["task_id"], "collect")["id"]]


@pytest.mark.slow
def test_fifty_equal_tasks_run_once_though_their_leaders_worker_is_killed(
    client: Client, database: Engine
) -> None:
    contract = _slow_contract(client)
    leader = client.submit("Print the answer", **contract)
    child = owner_of(database, leader, "slow")
    followers = [client.submit("print the answer.", **contract) for _ in range(5)]

    os.kill(child, signal.SIGKILL)
    # the other submissions happen while the step runs again, so that a slow machine has time for both attempts
    with ThreadPoolExecutor(16) as pool:
        rest = pool.map(lambda _: client.submit("print the answer.", **contract), range(CROWD - 6))
        followers += list(rest)
    tasks = [client.end_of(task_id) for task_id in (leader, *followers)]

    assert [task["status"] for task in tasks] == ["completed"] * CROWD
    assert [task["task_id"] for task in tasks if task["cache"] is None] == [leader]
    assert row_of(database, leader, "slow")["attempt"] == 2


def _slow_contract(client: Client) -> dict[str, Any]:
    """A client's plan that takes seconds; its cache mode enables the cache."""
    script = client.upload(SLOW, filename="slow.py")
    slow = {"id": "slow", "arm": "executor", "action": "script", "inputs": {"attachments": [script]}}
    check = verify("check", {"$from": "slow", "pointer": "/stdout"}, {"pointer": "", "equals": "42\n"})
    return {"plan": {"steps": [slow, check]}, "attachments": [script], "cache": {"mode": "default"}}

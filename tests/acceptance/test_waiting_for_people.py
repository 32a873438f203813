"""A task waits for people through the end of every process and the loss of the broker's data."""

import os
import signal
from typing import Any

import pytest
import redis

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref, wait
from tests.waiting import wait_until

ASK = {"ask": "go on?", "by": "ann"}


def pending(client: Client, task_id: str) -> dict[str, dict[str, Any]]:
    """The pending approvals of a task, by step."""
    return {approval["step_id"]: approval for approval in client.questions(task_id)}


@pytest.mark.slow
def test_a_task_waits_through_the_death_of_all_workers_and_an_empty_broker(
    stack: Stack, client: Client, whole_again: None
) -> None:
    question = {"question": "Which?", "schema": {"type": "object", "required": ["values"]}}
    steps = [
        collect("first", [1], approval=ASK),
        {"id": "asked", "arm": "human", "action": "answer", "inputs": question},
        wait("refused", 0, approval=ASK, optional=True),
        collect("last", [ref("first", "/values/0"), ref("asked", "/values/0")], approval=ASK),
    ]
    task_id = client.submit(plan={"steps": steps})
    wait_until(lambda: len(pending(client, task_id)) == 3, 30, "three questions")
    status = client.task(task_id)
    assert {step["step_id"]: step["status"] for step in status["steps"]} == {
        "first": "waiting",
        "asked": "waiting",
        "refused": "waiting",
        "last": "blocked",
    }
    assert "step first is waiting for approval by ann until " in status["message"]

    for kind in ("planner", "executor", "retriever", "judge", "sweeper"):
        for pid in stack.pids(kind):
            os.kill(pid, signal.SIGKILL)
    with redis.Redis.from_url(stack.redis_url) as broker:
        broker.flushall()
    asked = pending(client, task_id)
    client.decide(asked["first"], "approve")
    client.decide(asked["refused"], "reject", comment="not now")
    client.decide(asked["asked"], "answer", answer={"values": [2]})
    wait_until(lambda: "last" in pending(client, task_id), 60, "the last question")
    client.decide(pending(client, task_id)["last"], "edit", inputs={"values": [7]})
    task = client.end_of(task_id)

    states = {step["step_id"]: step["status"] for step in task["steps"]}
    assert states == {"first": "done", "asked": "done", "refused": "failed", "last": "done"}
    assert task["result"]["data"]["last"]["values"] == [7]
    kinds = [event["type"] for event in client.events(task_id)]
    assert (kinds.count("approval.requested"), kinds.count("approval.decided")) == (4, 4)

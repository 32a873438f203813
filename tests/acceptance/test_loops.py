"""Steps with for_each through real workers: a repair runs failed items again, and crashes lose none."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from orchestrator.process.crash_point import Point
from tests.acceptance.audit import assert_completed_once
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm
from tests.acceptance.plans import collect, ref, wait
from tests.acceptance.proc import owner_of, row_of
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


def each(name: str, source: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Return a step that runs for each item of a list."""
    return {**step, "id": name, "for_each": source}


def test_of_forty_items_one_fails_and_only_that_one_runs_again(client: Client) -> None:
    check = {
        "arm": "judge",
        "action": "verify",
        "inputs": {"value": {"$item": ""}, "check": {"not_equals": 13}, "required": True},
        "repair_inputs": {"check": {"equals": 13}},
    }
    plan = [
        collect("find", {"list": list(range(40))}),
        each("check", ref("find", "/values/list"), check),
        collect("sum", {"count": ref("check", "/count"), "failed": ref("check", "/failed")}),
    ]

    task = client.run(plan={"steps": plan}, timeout=150)

    started = Counter(
        (event["data"]["step"], event["data"]["round"])
        for event in client.events(task["task_id"])
        if event["type"] == "step.started" and event["data"]["step"].startswith("check[")
    )
    items = [f"check[{number}]" for number in range(40)]
    assert task["status"] == "completed", task["error"]
    assert {name for name, number in started if number == 1} == {*items, "check[]"}
    assert {name for name, number in started if number == 2} == {"check[13]", "check[]"}
    assert set(started.values()) == {1}
    assert task["result"]["data"]["sum"]["values"] == {"count": 40, "failed": 0}
    (loop,) = [step for step in task["steps"] if step["step_id"] == "check"]
    assert (loop["arm_id"], loop["items"]) == ("judge", {"done": 40})


@contextmanager
def paused(stack: Stack, kind: str) -> Iterator[int]:
    """Stop the processes of a kind for the block; yields the pid of the only one."""
    (pid,) = stack.pids(kind)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


AFTER = [Point.MID_STATEMENT, Point.COMMITTED_NOT_PUBLISHED, Point.PUBLISHED_NOT_ACKNOWLEDGED]


@pytest.mark.slow
@pytest.mark.usefixtures("whole_again")
@pytest.mark.parametrize("case", [(row, point) for row in ("work[]", "work") for point in AFTER])
def test_a_judge_killed_while_it_spreads_or_gathers_loses_and_doubles_nothing(
    stack: Stack, client: Client, database: Engine, arm: Arm, case: tuple[str, Point]
) -> None:
    row, point = case
    slow = each("work", [1, 1, 1, 1, 1], {**wait("work", 0, "first"), "inputs": {"seconds": {"$item": ""}}})
    task_id = client.submit(plan={"steps": [wait("first", 1), slow, collect("last", 1, "work")]})
    owner_of(database, task_id, "first" if row == "work[]" else "work[0]")

    with paused(stack, "judge") as judge:
        wait_until(lambda: row_of(database, task_id, row)["state"] == "queued", 40, f"{row} to be queued")
        died = arm(point)

    killed = died()
    # the worker of the last item may not have published the gather yet: then it dies
    assert killed == judge or (row, point) in [("work", other) for other in AFTER[1:]]
    names = ["first", "work[]", *(f"work[{number}]" for number in range(5)), "work", "last"]
    assert_completed_once(client, task_id, steps=names)
    assert row_of(database, task_id, row)["attempt"] == (2 if point is Point.MID_STATEMENT else 1)


@pytest.mark.slow
@pytest.mark.usefixtures("whole_again")
@pytest.mark.parametrize("point", AFTER)
def test_a_worker_killed_with_an_item_loses_and_doubles_nothing(
    client: Client, database: Engine, arm: Arm, point: Point
) -> None:
    slow = each("work", [1, 1, 1, 1, 1], {**wait("work"), "inputs": {"seconds": {"$item": ""}}})
    task_id = client.submit(plan={"steps": [slow, collect("last", 1, "work")]})
    owner_of(database, task_id, "work[0]")

    arm(point)()

    names = ["work[]", *(f"work[{number}]" for number in range(5)), "work", "last"]
    assert_completed_once(client, task_id, steps=names)

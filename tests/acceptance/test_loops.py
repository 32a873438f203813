"""Steps with for_each through real workers: items run in parallel, a repair runs failed ones again, crashes lose none."""

from collections import Counter
from typing import Any

import pytest

from orchestrator.process.crash_point import Point
from tests.acceptance.audit import assert_completed_once
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm
from tests.acceptance.plans import collect, ref, wait

pytestmark = pytest.mark.timeout(180)


def each(name: str, source: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Return a step that runs for each item of a list."""
    return {**step, "id": name, "for_each": source}


def loop_of(count: int) -> list[dict[str, Any]]:
    """Return a plan that waits for each of some items and passes their number on."""
    return [
        collect("find", {"list": [{"seconds": 0, "n": number} for number in range(count)]}),
        each("work", ref("find", "/values/list"), wait("work", {"$item": "/seconds"})),  # type: ignore[arg-type]
        collect("sum", {"count": ref("work", "/count"), "failed": ref("work", "/failed")}),
    ]


def names_of(count: int) -> list[str]:
    """Return the names of all rows of `loop_of`."""
    return ["find", "work[]", *(f"work[{number}]" for number in range(count)), "work", "sum"]


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
    assert task["result"]["data"] == {"sum": {"summary": "2 values collected", "values": {"count": 40, "failed": 0}}}
    (loop,) = [step for step in task["steps"] if step["step_id"] == "check"]
    assert (loop["arm_id"], loop["items"]) == ("judge", {"done": 40})


@pytest.mark.slow
@pytest.mark.usefixtures("whole_again")
@pytest.mark.parametrize(
    "point", [Point.MID_STATEMENT, Point.COMMITTED_NOT_PUBLISHED, Point.PUBLISHED_NOT_ACKNOWLEDGED]
)
@pytest.mark.parametrize("where", ["spread", "item", "gather"])
def test_a_worker_killed_in_a_loop_loses_and_doubles_nothing(
    client: Client, arm: Arm, point: Point, where: str
) -> None:
    raise NotImplementedError

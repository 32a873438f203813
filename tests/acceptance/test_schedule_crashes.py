"""A sweeper is killed at each moment of firing a schedule: one task starts all the same, and only one."""

from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from orchestrator.process.crash_point import Point
from tests.acceptance.audit import assert_completed_once
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm
from tests.acceptance.plans import wait
from tests.acceptance.proc import row_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("whole_again")]

DUE = "UPDATE schedules SET next_at = now(), due_at = now(), anchor_at = now() WHERE id = %(id)s"


def scheduled(client: Client, name: str, *, seconds: float = 0, overlap: str = "skip") -> str:
    """Make a schedule of a plan of one step; return its id."""
    body = {
        "name": name,
        "contract": {"goal": "do it again", "plan": {"steps": [wait("a", seconds)]}},
        "every_seconds": 3600,
        "overlap": overlap,
    }
    return str(client.call("POST", "/v1/schedules", body).body["schedule_id"])


def let_come(database: Engine, schedule_id: str) -> None:
    """Let the schedule's time come."""
    with database.connect() as conn:
        conn.exec_driver_sql(DUE, {"id": schedule_id})


def tasks_of(database: Engine, schedule_id: str) -> list[dict[str, Any]]:
    """The tasks that the schedule started, oldest first."""
    with database.connect() as conn:
        found = conn.exec_driver_sql(
            "SELECT id, status FROM tasks WHERE schedule_id = %(id)s ORDER BY id", {"id": schedule_id}
        )
        return [dict(row) for row in found.mappings()]


@pytest.mark.parametrize("point", [Point.SCHEDULE_DUE_NOT_FIRED, Point.FIRED_NOT_PUBLISHED])
def test_a_sweeper_dies_before_or_after_it_starts_the_task(
    stack: Stack, client: Client, database: Engine, arm: Arm, point: Point
) -> None:
    """Before, another sweeper starts it; after, the row's message is published later."""
    (sweeper,) = stack.pids("sweeper")
    schedule_id = scheduled(client, point)
    died = arm(point)

    let_come(database, schedule_id)

    assert died() == sweeper
    wait_until(lambda: tasks_of(database, schedule_id), 30, "the schedule's task")
    [task] = tasks_of(database, schedule_id)
    assert_completed_once(client, task["id"], steps=["a"])
    if point is Point.FIRED_NOT_PUBLISHED:
        assert row_of(database, task["id"], "$plan")["sends"] > 1
    history = client.call("GET", f"/v1/schedules/{schedule_id}/events").body
    assert [event["type"] for event in history["events"]] == ["fire.started", "schedule.created"]
    assert history["events"][0]["task_status"] == "completed"


def test_a_sweeper_dies_after_it_cancelled_the_earlier_task(
    stack: Stack, client: Client, database: Engine, arm: Arm
) -> None:
    """The next sweeper finds no open task and starts the one for this time."""
    (sweeper,) = stack.pids("sweeper")
    schedule_id = scheduled(client, "cancelled", seconds=30, overlap="cancel_other")
    client.call("POST", f"/v1/schedules/{schedule_id}/trigger")
    died = arm(Point.OTHER_CANCELLED_NOT_FIRED)

    let_come(database, schedule_id)

    assert died() == sweeper
    wait_until(lambda: len(tasks_of(database, schedule_id)) == 2, 30, "the second task")
    first, second = tasks_of(database, schedule_id)
    assert first["status"] == "cancelled"
    assert second["status"] in ("queued", "processing")
    client.call("POST", f"/v1/tasks/{second['id']}/cancel")

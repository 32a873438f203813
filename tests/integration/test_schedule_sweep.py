"""Schedules that the sweeper fires: once for each time, whatever happens at the same time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.chord.database import statement
from orchestrator.lifecycle.schedules import Schedules
from orchestrator.memory import keys, schedules
from orchestrator.memory.schedules import ScheduleEvent, ScheduleRecord
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from tests.integration.kit import TENANT, Engineer, wait_step
from workers.sweeper import Sweeper

MINUTE = timedelta(minutes=1)


class Clerk:
    """Makes schedules with a key of its own and lets their time come."""

    def __init__(self, engineer: Engineer, *, tenant: str = TENANT) -> None:
        self.engineer = engineer
        self.tenant = tenant
        with statement(engineer.engine) as conn:
            self.key, _ = keys.create(conn, tenant=tenant, scopes=["task:submit", "task:read"])
        caller = Caller(tenant=tenant, key_id=self.key.id)
        self.book = Schedules(engineer.engine, engineer.settings, caller)

    def make(self, **given: Any) -> ScheduleRecord:
        """Make a schedule of a plan of one step, each minute."""
        plan = {"steps": [wait_step("a")]}
        members: dict[str, Any] = {
            "name": f"s{len(self.engineer.ask('SELECT id FROM schedules'))}",
            "contract": Contract(goal="do it again", plan=plan),
            "cron": None,
            "tz": None,
            "every_seconds": None if "cron" in given else 60,
            "starts_at": None,
            "ends_at": None,
            "jitter_seconds": 0,
            "overlap": "skip",
            "catchup_seconds": 600,
            "pause_after_failures": None,
            "paused": False,
        }
        return self.book.create(members | given)

    def let_come(self, schedule: ScheduleRecord, *, ago: timedelta = timedelta()) -> datetime:
        """Move the schedule's clock so that its next time is `ago`; return that time."""
        [row] = self.engineer.ask(
            "UPDATE schedules SET anchor_at = now() - %(ago)s - interval '1 day', next_at = now() - %(ago)s,"
            " due_at = now() - %(ago)s WHERE id = %(id)s RETURNING next_at",
            ago=ago,
            id=schedule.id,
        )
        at: datetime = row["next_at"]
        return at

    def events(self, schedule: ScheduleRecord) -> list[ScheduleEvent]:
        """The schedule's events without its creation, oldest first."""
        with statement(self.engineer.engine) as conn:
            found = schedules.events(conn, schedule, limit=100)
        return [event for event in reversed(found) if event.type != "schedule.created"]

    def tasks(self, schedule: ScheduleRecord) -> list[dict[str, Any]]:
        """The schedule's tasks, oldest first."""
        return self.engineer.ask("SELECT * FROM tasks WHERE schedule_id = %(id)s ORDER BY id", id=schedule.id)

    def now(self, schedule: ScheduleRecord) -> ScheduleRecord:
        """The schedule as it is now."""
        return self.book.find(schedule.id)


@pytest.fixture
def clerk(engineer: Engineer) -> Clerk:
    """One who schedules for `engineer`'s tenant."""
    return Clerk(engineer)


def test_a_schedule_whose_time_has_come_starts_one_task(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    at = clerk.let_come(schedule)

    sweeper.fire_schedules()
    sweeper.fire_schedules()

    [task] = clerk.tasks(schedule)
    [event] = clerk.events(schedule)
    assert (event.type, event.kind, event.scheduled_at) == ("fire.started", "scheduled", at)
    assert (event.task_id, event.task_status) == (task["id"], "queued")
    assert (task["tenant"], task["key_id"], task["scheduled_at"]) == (TENANT, clerk.key.id, at)
    assert task["request_id"] == f"schedule:{schedule.id}:{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert clerk.now(schedule).next_at == at + MINUTE
    [decision] = clerk.engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(id)s AND kind = 'schedule'", id=task["id"]
    )
    assert decision["payload"]["schedule_id"] == schedule.id


def test_a_task_of_a_schedule_can_be_planned_and_done(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    clerk.let_come(schedule)
    sweeper.fire_schedules()
    [task] = clerk.tasks(schedule)

    clerk.engineer.plan(task["id"])
    clerk.engineer.do(task["id"], "a")

    assert clerk.engineer.row(task["id"], "a")["state"] == "done"


def test_two_sweepers_at_once_start_one_task(clerk: Clerk, sweeper: Sweeper) -> None:
    made = [clerk.make(overlap="allow") for _ in range(4)]
    for schedule in made:
        clerk.let_come(schedule)

    at_once(sweeper.fire_schedules, 4)

    assert [len(clerk.tasks(schedule)) for schedule in made] == [1, 1, 1, 1]
    assert {event.type for schedule in made for event in clerk.events(schedule)} == {"fire.started"}


def at_once(work: Callable[[], object], count: int) -> None:
    """Run `work` in `count` threads that start together."""
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

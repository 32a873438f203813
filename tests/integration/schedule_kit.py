"""A clerk who makes schedules and lets their time come, for the tests of the sweeper's work on them."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle.schedules import Schedules
from orchestrator.memory import keys, schedules
from orchestrator.memory.schedules import ScheduleEvent, ScheduleRecord
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Budget, Contract
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, verdict, wait_step
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
            "contract": Contract(goal="do it again", plan=plan, budget=Budget(max_repairs=0, max_replans=0)),
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

    def fire(self, schedule: ScheduleRecord, sweeper: Sweeper) -> datetime:
        """Let the schedule's time come and sweep; return that time."""
        at = self.let_come(schedule)
        sweeper.fire_schedules()
        return at

    def end(self, task_id: str, decision: Decision = Decision.PASSED) -> None:
        """Do the task's step and judge it."""
        self.engineer.plan(task_id)
        self.engineer.do(task_id, "a")
        self.engineer.judge(task_id, verdict(decision))

    def own(self, schedule: ScheduleRecord, key_id: str) -> None:
        """Give the schedule to another key."""
        self.engineer.ask(
            "UPDATE schedules SET key_id = %(key)s WHERE id = %(id)s RETURNING id", key=key_id, id=schedule.id
        )

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

"""Fires schedules: what is due, what waits, and what a client asks for now.

octollm_fire_1 decides and writes in one statement, so a process that dies before it has done nothing, and one that dies
after it leaves only a message unsent, which the sweeper publishes. What may be asked beforehand (is the contract still
legal, has the tenant room) is asked before the statement and passed on as the reason to skip.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from orchestrator.chord.database import statement
from orchestrator.lifecycle import cancel, schedule_times
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.submission import plan_message, read_attachments, require_legal
from orchestrator.memory import schedules
from orchestrator.memory.schedules import Fire, ScheduleEvent, ScheduleRecord
from orchestrator.memory.steps import StepMessage
from orchestrator.models.errors import InvalidInput, TooMuch, Unavailable
from orchestrator.models.execution_state import PLAN_STEP
from orchestrator.models.ids import TaskId, new_task_id, step_id
from orchestrator.models.schedule import FireKind, Overlap
from orchestrator.models.task_contract import Contract
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.settings import Settings

MAX_DETAIL_CHARACTERS: Final = 500
_MOST_TRIES: Final = 5
REFUSED: Final = "contract_refused"
"""The reason of a skipped fire whose contract a submission would refuse today."""


@contextmanager
def in_contract() -> Iterator[None]:
    """Raise an InvalidInput about a contract as one about the member `contract` of a schedule."""
    try:
        yield
    except InvalidInput as error:
        faults = [
            {**fault, "field": f"contract.{fault['field']}"} for fault in error.details.get("errors", ())
        ]
        raise type(error)(f"contract.{error.message}", details={**error.details, "errors": faults}) from error


@dataclass(frozen=True)
class Fired:
    """What a fire did: the event that tells it (None: nothing, another process was here), and a message to publish.

    `repeated`: an earlier trigger with the same idempotency key did it.
    """

    outcome: str
    event: ScheduleEvent | None = None
    messages: tuple[StepMessage, ...] = ()


@dataclass(frozen=True)
class Firing:
    """Fires schedules on behalf of a process.

    `require_room` raises TooMuch when the tenant may not have another task now. `report` is told of each task that a
    fire cancelled.
    """

    engine: Engine
    settings: Settings
    require_room: Callable[[str], None]
    report: Callable[[Ended], None]

    def fire_due(self, schedule: ScheduleRecord) -> Fired:
        """Fire a schedule whose time has come, as it was read; an older record does nothing."""
        if schedule.next_at is None or schedule.read_at is None:
            return Fired("changed")
        due = schedule_times.decide(
            schedule.id,
            schedule.timing,
            next_at=schedule.next_at,
            now=schedule.read_at,
            window=timedelta(seconds=schedule.catchup_seconds),
        )
        crash_point.here(Point.SCHEDULE_DUE_NOT_FIRED)
        fire = replace(
            _fire(FireKind.SCHEDULED, due.fire_at),
            next_at=due.next_at,
            due_at=due.due_at,
            missed=due.missed,
            skip=self._reason_to_skip(schedule) if due.fire_at else None,
        )
        return self._do(schedule, fire)

    def fire_waiting(self, schedule: ScheduleRecord, scheduled_at: datetime) -> Fired:
        """Fire a time that waited for an earlier task to end; while the tenant has no room it goes on waiting."""
        reason = self._reason_to_skip(schedule)
        if reason is not None and reason[0] != REFUSED:
            return Fired("busy")
        return self._do(schedule, replace(_fire(FireKind.WAITING, scheduled_at), skip=reason))

    def skip_due(self, schedule: ScheduleRecord, *, detail: str) -> Fired:
        """Let a schedule's time pass because firing it failed unexpectedly, so that it does not hold up others."""
        if schedule.next_at is None or schedule.read_at is None:
            return Fired("changed")
        found = schedule_times.first(schedule.id, schedule.timing, after=schedule.read_at)
        next_at, due_at = found or (None, None)
        fire = replace(
            _fire(FireKind.SCHEDULED, schedule.next_at),
            next_at=next_at,
            due_at=due_at,
            skip=("error", detail),
        )
        return self._do(schedule, fire)

    def trigger(self, tenant: str, schedule_id: str, *, once: str | None = None) -> Fired:
        """Fire a schedule now, also a paused one; with `once` a second call does nothing.

        Raises TooMuch when the tenant has no room, InvalidInput when the contract is not legal any more.
        """
        for _ in range(_MOST_TRIES):
            with statement(self.engine) as conn:
                schedule = schedules.find(conn, tenant, schedule_id)
            if schedule is None:
                return Fired("unknown")
            with in_contract():
                self._require_legal(schedule)
            self.require_room(tenant)
            fired = self._do(schedule, replace(_fire(FireKind.TRIGGER, None), once=once))
            if fired.outcome not in ("changed", "busy"):
                return fired
        raise Unavailable(f"The schedule {schedule_id} changes all the time; send the request again.")

    def _do(self, schedule: ScheduleRecord, fire: Fire) -> Fired:
        outcome, event_id = self._write(schedule, fire)
        if outcome == "busy" and schedule.overlap is Overlap.CANCEL_OTHER and fire.kind != FireKind.WAITING:
            self._cancel_others(schedule)
            crash_point.here(Point.OTHER_CANCELLED_NOT_FIRED)
            outcome, event_id = self._write(schedule, fire)
        if event_id is None:
            return Fired(outcome)
        with statement(self.engine) as conn:
            event = schedules.event(conn, event_id)
        if outcome != "started":
            return Fired(outcome, event)
        crash_point.here(Point.FIRED_NOT_PUBLISHED)
        message = plan_message(TaskId(fire.task_id), Contract.from_record(schedule.contract))
        return Fired(outcome, event, (message,))

    def _write(self, schedule: ScheduleRecord, fire: Fire) -> tuple[str, int | None]:
        with statement(self.engine) as conn:
            return schedules.fire(conn, schedule, fire, redispatch_seconds=self.settings.redispatch_seconds)

    def _cancel_others(self, schedule: ScheduleRecord) -> None:
        with statement(self.engine) as conn:
            open_ids = schedules.open_tasks(conn, schedule.id)
        for task_id in open_ids:
            ended = cancel.cancel_open(
                self.engine, task_id, reason=f"the next task of its schedule {schedule.name} starts"
            )
            if ended is not None:
                self.report(ended)

    def _reason_to_skip(self, schedule: ScheduleRecord) -> tuple[str, str] | None:
        try:
            self._require_legal(schedule)
            self.require_room(schedule.tenant)
        except InvalidInput as error:
            return REFUSED, error.message[:MAX_DETAIL_CHARACTERS]
        except TooMuch as error:
            return error.code, error.message[:MAX_DETAIL_CHARACTERS]
        return None

    def _require_legal(self, schedule: ScheduleRecord) -> None:
        """Raise InvalidInput if a submission of the contract would be refused today: a file or an arm is gone."""
        contract = Contract.from_record(schedule.contract)
        with statement(self.engine) as conn:
            attachments = read_attachments(conn, schedule.tenant, contract.attachments)
        require_legal(contract, attachments, settings=self.settings, tenant=schedule.tenant)


def _fire(kind: FireKind, fire_at: datetime | None) -> Fire:
    task_id = new_task_id()
    return Fire(kind, fire_at, task_id, step_id(task_id, round_number=0, name=PLAN_STEP))

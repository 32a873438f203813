"""Schedules and their events in responses."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate

from api.schemas.fields import Timestamp
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.memory.schedules import ScheduleEvent, ScheduleRecord
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.schedule import Overlap

EVENT_TYPES = (
    "fire.started",
    "fire.skipped",
    "fire.waiting",
    "schedule.created",
    "schedule.changed",
    "schedule.paused",
    "schedule.resumed",
    "schedule.backfill",
)
"""What can happen to a schedule."""


class ScheduleSchema(ResponseSchema):
    """A schedule: its contract, its times, and what it does next.

    `next_at` is the next time of its line, which fires up to `jitter_seconds` later, at `due_at`; both are null when no
    time is left. Its tasks have the rights of the key `key_id`. `waiting` counts its fires that wait for an open task.
    `paused_reason` is asked (by a person), key_lost or failures.
    """

    schedule_id = fields.String(attribute="id", validate=validate.Regexp(r"^sched_[0-9A-Za-z]{16}$"))
    name = fields.String()
    state = one_of("active", "paused", "ended")
    cron = fields.String(allow_none=True)
    tz = fields.String(allow_none=True)
    every_seconds = fields.Integer(allow_none=True)
    jitter_seconds = fields.Integer()
    starts_at = Timestamp(allow_none=True)
    ends_at = Timestamp(allow_none=True)
    overlap = one_of(*(overlap.value for overlap in Overlap))
    catchup_window_seconds = fields.Integer(attribute="catchup_seconds")
    pause_after_failures = fields.Integer(allow_none=True)
    next_at = Timestamp(allow_none=True)
    due_at = Timestamp(allow_none=True)
    waiting = fields.Integer()
    paused_at = Timestamp(allow_none=True)
    paused_reason = fields.String(allow_none=True)
    key_id = fields.String()
    created_at = Timestamp()
    updated_at = Timestamp()
    contract = fields.Dict()


class SchedulePageSchema(ResponseSchema):
    """A page of the tenant's schedules, newest first; request the next page with cursor = `next_cursor`."""

    schedules = fields.List(fields.Nested(ScheduleSchema))
    next_cursor = fields.String(allow_none=True)


class ScheduleEventSchema(ResponseSchema):
    """Something that happened to a schedule.

    `type` is fire.started (with the task and its present status, null once it is deleted), fire.skipped, fire.waiting,
    or schedule.created, changed, paused, resumed, backfill. `kind` says why it fired. The `reason` of a skipped fire is
    overlap, catchup (missed while nothing ran; `data` has `from` and `until`), contract_refused, too_many_tasks,
    tenant_limit_exceeded, queue_full, fired_before or error; `data.detail` says more.
    """

    id = fields.Integer()
    timestamp = Timestamp(attribute="occurred_at")
    type = fields.String()
    kind = fields.String(allow_none=True, validate=validate.OneOf(["scheduled", "trigger", "backfill"]))
    scheduled_at = Timestamp(allow_none=True)
    task_id = fields.String(allow_none=True)
    task_status = fields.String(
        allow_none=True, validate=validate.OneOf([status.value for status in TaskStatus])
    )
    reason = fields.String(allow_none=True)
    data = fields.Raw(attribute="payload")


class ScheduleEventPageSchema(ResponseSchema):
    """A page of a schedule's events, newest first; request the next page with before = `next_before`."""

    events = fields.List(fields.Nested(ScheduleEventSchema))
    next_before = fields.Integer(allow_none=True)


class TimesSchema(ResponseSchema):
    """Times in UTC, and the same ones as `tz` writes them."""

    times = fields.List(Timestamp())
    local_times = fields.List(fields.String())
    tz = fields.String()


class BackfillSchema(TimesSchema):
    """The times that start a task, one after the other, or would (`dry_run`)."""

    dry_run = fields.Boolean()


_SCHEDULE = ScheduleSchema()
_EVENT = ScheduleEventSchema()


def schedule_reply(schedule: ScheduleRecord) -> dict[str, Any]:
    """Return a schedule as the API shows it."""
    return _SCHEDULE.to_json(schedule)


def event_reply(event: ScheduleEvent) -> Mapping[str, Any]:
    """Return an event of a schedule as the API shows it."""
    return _EVENT.to_json(event)

"""The bodies and queries of /v1/schedules: their schemas, their examples, and what a new schedule has by default."""

from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from api.routes.task_contract import TaskRequestSchema
from api.schemas.fields import CommaList, SoughtText, TrimmedText, UtcDateTime
from api.schemas.requests import MAX_PAGE, RequestSchema
from api.schemas.schedules import EVENT_TYPES
from orchestrator.models.ids import is_schedule_id
from orchestrator.models.schedule import (
    DEFAULT_CATCHUP_SECONDS,
    MAX_CATCHUP_SECONDS,
    MAX_CRON_CHARACTERS,
    MAX_EVERY_SECONDS,
    MAX_JITTER_SECONDS,
    MAX_NAME_CHARACTERS,
    MAX_NEXT,
    MAX_PAUSE_AFTER_FAILURES,
    MAX_TZ_CHARACTERS,
    MIN_CATCHUP_SECONDS,
    MIN_EVERY_SECONDS,
    Overlap,
)

_FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(2200, 1, 1, tzinfo=UTC)
_MAX_EVENT = 2**63 - 1
_CONTRACT = {
    "goal": "Find the late deliveries",
    "recipe": "search-documents",
    "parameters": {"query": "late delivery"},
    "context": "After a late delivery half of the price is paid back.",
}
EXAMPLES = {
    "on working days": {
        "name": "late deliveries",
        "contract": _CONTRACT,
        "cron": "30 6 * * 1-5",
        "tz": "Europe/Berlin",
    },
    "every hour, one after the other": {
        "name": "late deliveries by the hour",
        "contract": _CONTRACT,
        "every_seconds": 3600,
        "overlap": "queue_one",
        "jitter_seconds": 120,
        "pause_after_failures": 3,
    },
}
BACKFILL_EXAMPLES = {
    "what an afternoon lacks": {"from": "2026-11-02T12:00:00Z", "to": "2026-11-02T18:00:00Z", "dry_run": True}
}
DEFAULTS = {
    **dict.fromkeys(("cron", "tz", "every_seconds", "starts_at", "ends_at", "pause_after_failures")),
    "jitter_seconds": 0,
    "overlap": Overlap.SKIP.value,
    "catchup_seconds": DEFAULT_CATCHUP_SECONDS,
}
"""The members that a new schedule has where its body does not name them."""


def _require_near(moment: datetime) -> None:
    """Refuse times for which calendars and time zones can't be computed."""
    if not _FIRST_TIME <= moment <= _LAST_TIME:
        raise ValidationError("Must be from 2000 to 2200.")


def _require_printable(text: str) -> None:
    if not text.isprintable():
        raise ValidationError("Must not contain control characters.")


def _require_cursor(cursor: str) -> None:
    if not is_schedule_id(cursor):
        raise ValidationError("Not a cursor of this list.")


class ScheduleChangeSchema(RequestSchema):
    """The members of a schedule to replace. `cron` (with `tz`) or `every_seconds` replaces the other.

    The changed schedule has the rights of the caller's key.
    """

    name = TrimmedText(validate=[validate.Length(1, MAX_NAME_CHARACTERS), _require_printable])
    contract = fields.Nested(TaskRequestSchema)
    cron = TrimmedText(
        validate=validate.Length(1, MAX_CRON_CHARACTERS),
        metadata={"description": "Minute, hour, day of the month, month, day of the week, in `tz`."},
    )
    tz = fields.String(validate=validate.Length(1, MAX_TZ_CHARACTERS))
    every_seconds = fields.Integer(strict=True, validate=validate.Range(MIN_EVERY_SECONDS, MAX_EVERY_SECONDS))
    jitter_seconds = fields.Integer(strict=True, validate=validate.Range(0, MAX_JITTER_SECONDS))
    starts_at = UtcDateTime(format="iso", validate=_require_near)
    ends_at = UtcDateTime(format="iso", validate=_require_near)
    overlap = fields.String(validate=validate.OneOf([overlap.value for overlap in Overlap]))
    catchup_window_seconds = fields.Integer(
        attribute="catchup_seconds",
        strict=True,
        validate=validate.Range(MIN_CATCHUP_SECONDS, MAX_CATCHUP_SECONDS),
    )
    pause_after_failures = fields.Integer(strict=True, validate=validate.Range(1, MAX_PAUSE_AFTER_FAILURES))


class ScheduleRequestSchema(ScheduleChangeSchema):
    """A new schedule: a name, the contract of its tasks (the body of POST /v1/tasks), and when they start.

    Give `cron` and `tz`, or `every_seconds`, which count from `starts_at`, else from now. While an earlier task of the
    schedule is open, `overlap` decides. A time that passed while nothing ran is caught up if it is at most
    `catchup_window_seconds` old, only the newest one. After `pause_after_failures` failed tasks in a row it pauses.
    """

    name = TrimmedText(required=True, validate=[validate.Length(1, MAX_NAME_CHARACTERS), _require_printable])
    contract = fields.Nested(TaskRequestSchema, required=True)
    paused = fields.Boolean(load_default=False)


class ScheduleListQuerySchema(Schema):
    """Which schedules to list; the cursor is the previous page's `next_cursor`. A name finds the one that has it."""

    name = SoughtText(load_default=None, max_characters=MAX_NAME_CHARACTERS)
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(load_default=None, validate=_require_cursor)


class ScheduleEventQuerySchema(Schema):
    """Which events to read: at most `limit` of these types (separated by commas) before the event `before`."""

    type = CommaList(EVENT_TYPES, load_default=None)
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))
    before = fields.Integer(load_default=None, validate=validate.Range(1, _MAX_EVENT))


class NextQuerySchema(Schema):
    """How many times to compute."""

    count = fields.Integer(load_default=5, validate=validate.Range(1, MAX_NEXT))


class BackfillRequestSchema(RequestSchema):
    """A range of the past, both ends included, of at most 100 times; with `dry_run` nothing starts."""

    from_ = UtcDateTime(data_key="from", format="iso", required=True, validate=_require_near)
    to = UtcDateTime(format="iso", required=True, validate=_require_near)
    dry_run = fields.Boolean(load_default=False)

    @validates_schema
    def _has_a_range(self, members: dict[str, Any], **_: Any) -> None:
        if members["from_"] > members["to"]:
            raise ValidationError("Must not be before `from`.", "to")

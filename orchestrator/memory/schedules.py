"""Reads and writes schedules, their events and the fires that wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping

from orchestrator.chord import sql
from orchestrator.models import record
from orchestrator.models.schedule import FireKind, Missed, Overlap, Timing

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class ScheduleRecord:
    """A row of schedules; `waiting` counts its fires that wait, and `read_at` is Postgres' clock when it was read."""

    id: str
    tenant: str
    name: str
    key_id: str
    has_key: bool
    contract: dict[str, Any]
    cron: str | None
    tz: str | None
    every_seconds: int | None
    anchor_at: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    jitter_seconds: int
    overlap: Overlap
    catchup_seconds: int
    pause_after_failures: int | None
    next_at: datetime | None
    due_at: datetime | None
    paused_at: datetime | None
    paused_reason: str | None
    revision: int
    created_at: datetime
    updated_at: datetime
    read_at: datetime | None = None
    waiting: int = 0

    @property
    def timing(self) -> Timing:
        """When it fires."""
        return Timing(**{field.name: getattr(self, field.name) for field in fields(Timing)})

    @property
    def state(self) -> str:
        """Return active, paused, or ended when no time is left."""
        if self.paused_at is not None:
            return "paused"
        return "active" if self.next_at is not None else "ended"


@dataclass(frozen=True)
class ScheduleEvent:
    """Something that happened to a schedule; `task_status` is the present status of the task that it started."""

    id: int
    occurred_at: datetime
    type: str
    kind: str | None
    scheduled_at: datetime | None
    task_id: str | None
    task_status: str | None
    reason: str | None
    payload: dict[str, Any]


@dataclass(frozen=True)
class ScheduleValues:
    """What a client sets of a schedule, with its next time; `contract` is a contract's record."""

    name: str
    key_id: str
    has_key: bool
    contract: Mapping[str, Any]
    timing: Timing
    overlap: Overlap
    catchup_seconds: int
    pause_after_failures: int | None
    next_at: datetime | None
    due_at: datetime | None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a statement that writes them."""
        values = {**vars(self), **vars(self.timing), "contract": record.encode(self.contract)}
        del values["timing"]
        return {**values, "overlap": self.overlap.value}


@dataclass(frozen=True)
class Fire:
    """One fire of a schedule, as octollm_fire_1 takes it.

    `skip` is (reason, detail) if there is one not to start a task. `once` is the idempotency key of a trigger.
    """

    kind: FireKind
    fire_at: datetime | None
    task_id: str
    step_id: str
    next_at: datetime | None = None
    due_at: datetime | None = None
    missed: Missed | None = None
    skip: tuple[str, str] | None = None
    once: str | None = None


def clock(conn: Connection) -> datetime:
    """Return Postgres' time."""
    now: datetime = conn.exec_driver_sql(_SQL["now"]).scalar_one()
    return now


def create(
    conn: Connection,
    schedule_id: str,
    values: ScheduleValues,
    *,
    tenant: str,
    paused: bool,
    max_schedules: int,
) -> ScheduleRecord | None:
    """Insert a schedule; None if the tenant has `max_schedules`. Raises IntegrityError if the name is taken."""
    parameters = {
        **values.parameters(),
        "id": schedule_id,
        "tenant": tenant,
        "paused": paused,
        "max_schedules": max_schedules,
    }
    return _one(conn.exec_driver_sql(_SQL["create"], parameters).mappings().one_or_none())


def change(
    conn: Connection, old: ScheduleRecord, values: ScheduleValues, *, members: Sequence[str]
) -> ScheduleRecord | None:
    """Replace what a client may change; None if the row is no longer `old`. Raises IntegrityError for a taken name."""
    parameters = {**values.parameters(), **_of(old), "members": record.encode(list(members))}
    return _one(conn.exec_driver_sql(_SQL["change"], parameters).mappings().one_or_none())


def pause(conn: Connection, tenant: str, schedule_id: str, *, key_id: str) -> bool:
    """Pause a schedule; False if it is paused already, or there is none."""
    values = {"id": schedule_id, "tenant": tenant, "key_id": key_id}
    return conn.exec_driver_sql(_SQL["pause"], values).one_or_none() is not None


def resume(
    conn: Connection,
    old: ScheduleRecord,
    *,
    key_id: str,
    has_key: bool,
    times: tuple[datetime, datetime] | None,
) -> ScheduleRecord | None:
    """End a pause, with the next time and when it fires; None if the row is no longer `old`."""
    next_at, due_at = times or (None, None)
    values = {**_of(old), "key_id": key_id, "has_key": has_key, "next_at": next_at, "due_at": due_at}
    return _one(conn.exec_driver_sql(_SQL["resume"], values).mappings().one_or_none())


def delete(conn: Connection, tenant: str, schedule_id: str) -> bool:
    """Delete a schedule with its events; False if the tenant has no such schedule."""
    return conn.exec_driver_sql(_SQL["delete"], {"id": schedule_id, "tenant": tenant}).rowcount == 1


def find(conn: Connection, tenant: str, schedule_id: str) -> ScheduleRecord | None:
    """Return the tenant's schedule; None if there is none, or it is another tenant's."""
    rows = conn.exec_driver_sql(_SQL["find"], {"id": schedule_id, "tenant": tenant}).mappings()
    return _one(rows.one_or_none())


def list_page(
    conn: Connection, tenant: str, *, limit: int, below: str | None = None, name: str | None = None
) -> list[ScheduleRecord]:
    """Return at most `limit` schedules, newest first, with ids below `below`; with `name`, the one of that name."""
    values = {"tenant": tenant, "limit": limit, "below": below, "name": name}
    return [_record(row) for row in conn.exec_driver_sql(_SQL["list"], values).mappings()]


def events(
    conn: Connection,
    schedule: ScheduleRecord,
    *,
    limit: int,
    before: int | None = None,
    types: Sequence[str] | None = None,
) -> list[ScheduleEvent]:
    """Return at most `limit` events of these types, newest first, with numbers below `before`."""
    values = {
        "id": schedule.id,
        "tenant": schedule.tenant,
        "limit": limit,
        "before": before,
        "types": list(types) if types else None,
    }
    return [ScheduleEvent(*row) for row in conn.exec_driver_sql(_SQL["events"], values)]


def event(conn: Connection, event_id: int) -> ScheduleEvent:
    """Return the event with this number."""
    return ScheduleEvent(*conn.exec_driver_sql(_SQL["event"], {"event_id": event_id}).one())


def due(conn: Connection, *, limit: int) -> list[ScheduleRecord]:
    """Return at most `limit` schedules of all tenants whose time has come, the longest due first."""
    return [_record(row) for row in conn.exec_driver_sql(_SQL["due"], {"limit": limit}).mappings()]


def ready(conn: Connection, *, limit: int) -> list[tuple[ScheduleRecord, datetime]]:
    """Return at most `limit` schedules of all tenants with the time that waits and may start now."""
    rows = conn.exec_driver_sql(_SQL["ready"], {"limit": limit}).mappings()
    return [(_record(row), row["scheduled_at"]) for row in rows]


def open_tasks(conn: Connection, schedule_id: str) -> list[str]:
    """Return the ids of the schedule's open tasks."""
    return list(conn.exec_driver_sql(_SQL["open_tasks"], {"id": schedule_id}).scalars())


def fire(
    conn: Connection, schedule: ScheduleRecord, one: Fire, *, redispatch_seconds: float
) -> tuple[str, int | None]:
    """Do one fire in one statement; return its outcome and the number of its event."""
    reason, detail = one.skip or (None, None)
    values = {
        **vars(one),
        "missed_from": one.missed.since if one.missed else None,
        "missed_until": one.missed.until if one.missed else None,
        "kind": one.kind.value,
        "id": schedule.id,
        "revision": schedule.revision,
        "skip_reason": reason,
        "skip_detail": detail,
        "redispatch_seconds": redispatch_seconds,
    }
    row = conn.exec_driver_sql(_SQL["fire"], values).one()
    return row.outcome, row.event_id


def add_backfill(
    conn: Connection, schedule: ScheduleRecord, times: Sequence[datetime], *, key_id: str
) -> list[datetime]:
    """Let those of these times wait that have not started a task and do not wait; return them."""
    values = {"id": schedule.id, "tenant": schedule.tenant, "times": list(times), "key_id": key_id}
    return list(conn.exec_driver_sql(_SQL["add_backfill"], values).scalars())


def started_times(conn: Connection, schedule_id: str, times: Sequence[datetime]) -> set[datetime]:
    """Return those of these times that have started a task or wait."""
    values = {"id": schedule_id, "times": list(times)}
    return set(conn.exec_driver_sql(_SQL["started_times"], values).scalars())


def pass_on(conn: Connection, tenant: str, key_id: str, *, successor_id: str) -> None:
    """Let the tenant's schedules of a key have the rights of its successor."""
    values = {"tenant": tenant, "key_id": key_id, "successor_id": successor_id}
    conn.exec_driver_sql(_SQL["pass_on"], values)


def forget_events(conn: Connection, *, days: int, limit: int) -> int:
    """Delete at most `limit` events that are older than `days`; return how many."""
    return conn.exec_driver_sql(_SQL["forget_events"], {"days": days, "limit": limit}).rowcount


def _of(old: ScheduleRecord) -> dict[str, Any]:
    return {"id": old.id, "tenant": old.tenant, "revision": old.revision}


def _one(row: RowMapping | None) -> ScheduleRecord | None:
    return _record(row) if row else None


def _record(row: RowMapping) -> ScheduleRecord:
    values = {field.name: row[field.name] for field in fields(ScheduleRecord) if field.name in row}
    return ScheduleRecord(**{**values, "overlap": Overlap(row["overlap"])})

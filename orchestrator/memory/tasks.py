"""Reads and writes tasks: their contracts, states and results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, CursorResult

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared
from orchestrator.memory.events import as_decisions
from orchestrator.memory.pools import ALIVE_WITHIN_SECONDS
from orchestrator.models import record
from orchestrator.models.caller import Caller
from orchestrator.models.ids import step_id
from orchestrator.models.task_contract import Contract

_SQL = sql.load(__file__)
_SUBMIT = Prepared(
    "octollm_submit",
    _SQL["submit"],
    {
        "id": "text",
        "tenant": "text",
        "key_id": "text",
        "request_id": "text",
        "priority": "text",
        "broker_priority": "smallint",
        "contract": "text",
        "deadline": "timestamptz",
        "max_time_seconds": "int",
        "once_name": "text",
        "once_sha256": "text",
        "once_seconds": "int",
        "cache_key": "text",
        "cache_parts": "text",
        "retry_of": "text",
        "trace_context": "text",
        "step_id": "text",
        "redispatch_seconds": "float8",
        "leads": "bool",
        "plan_spec": "text",
        "decisions": "text",
    },
)
_LOCK_TASK = Prepared("octollm_lock_task", _SQL["lock_task"], {"task_id": "text"})
_STEPS_OF = Prepared("octollm_steps_of", _SQL["steps_of"], {"task_id": "text"})
_WAITS = Prepared("octollm_waits", _SQL["waits"], {"task_id": "text", "within_seconds": "float8"})


@dataclass(frozen=True)
class TaskRecord:
    """A row of tasks; `result` and `error` have the shapes that the HTTP API returns.

    `cache` is {layer, source_task_id, age_seconds} if the result comes, or will come, from another task. `plans` is how
    many plans it had. `schedule_id` is the schedule that started it, for its time `scheduled_at`.
    """

    id: str
    tenant: str
    key_id: str | None
    goal: str
    priority: str
    contract: dict[str, Any]
    status: str
    phase: str
    round: int
    plan_id: str | None
    percentage: int
    event_seq: int
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    tokens_used: int
    cost_dollars: Decimal | None
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    finished_at: datetime | None
    retry_of: str | None
    cache: dict[str, Any] | None
    plans: int
    trace_context: dict[str, Any] | None
    schedule_id: str | None = None
    scheduled_at: datetime | None = None

    @property
    def worker_id(self) -> str:
        """Return the id of the task whose steps make this one's result: its own id, or `cache`'s source."""
        return str(self.cache["source_task_id"]) if self.cache else self.id


@dataclass(frozen=True)
class StepRecord:
    """The latest row of a step; `reused_from` is the task that did the work, if it was another.

    A step that is not `is_planned` is one of an earlier plan, which the task's present plan does not have. `items`
    counts the items of a for_each by their state. `event_seq` is the number of the task's last event when the row was
    read.
    """

    id: str
    round: int
    name: str
    arm: str
    state: str
    attempt: int
    failures: int
    spec: dict[str, Any]
    result: dict[str, Any] | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    reused_from: str | None
    is_planned: bool = True
    items: dict[str, int] | None = None
    event_seq: int = 0


@dataclass(frozen=True)
class OpenApproval:
    """An approval that a person has not decided yet; `assignee` is who should."""

    id: str
    step: str
    kind: str
    ask: str
    assignee: str | None
    expires_at: datetime


@dataclass(frozen=True)
class Waits:
    """What a task waits for."""

    arms: Sequence[str] = ()
    approvals: Sequence[OpenApproval] = ()


@dataclass(frozen=True)
class SourceTask:
    """The task that a retry repeats; `is_too_late` if the client's deadline has passed."""

    id: str
    status: str
    round: int
    contract: dict[str, Any]
    is_too_late: bool | None
    trace_context: dict[str, Any] | None


@dataclass(frozen=True)
class LockedTask:
    """A task whose row is locked; `age_seconds` is by Postgres' clock."""

    id: str
    tenant: str
    status: str
    phase: str
    round: int
    plan_id: str | None
    priority: str
    contract: dict[str, Any]
    percentage: int
    leads: bool
    has_gates: bool
    created_at: datetime
    deadline_at: datetime
    finished_at: datetime | None
    is_past_deadline: bool
    age_seconds: float
    trace_context: dict[str, Any] | None


@dataclass(frozen=True)
class NewTask:
    """A task to be inserted; its result is cached only with a `cache_key`, which is made from `cache_parts`.

    `retries` is the traceparent of the task `retry_of`.
    """

    id: str
    caller: Caller
    contract: Contract
    cache_key: str | None = None
    cache_parts: Mapping[str, str] | None = None
    retry_of: str | None = None
    retries: str | None = None

    def values(self) -> dict[str, Any]:
        """Return the parameters that every statement which inserts a task takes."""
        contract, caller, idempotency = self.contract, self.caller, self.caller.idempotency
        trace = replace(caller.trace, retries=self.retries).to_record()
        return {
            "id": self.id,
            "tenant": caller.tenant,
            "key_id": caller.key_id,
            "request_id": caller.request_id,
            "priority": contract.priority.value,
            "broker_priority": contract.priority.broker_priority,
            "contract": record.encode(contract.to_record()),
            "deadline": contract.deadline,
            "max_time_seconds": contract.budget.max_time_seconds,
            "once_name": idempotency.name if idempotency else None,
            "once_sha256": idempotency.sha256 if idempotency else None,
            "once_seconds": idempotency.seconds if idempotency else None,
            "cache_key": self.cache_key,
            "cache_parts": record.encode(self.cache_parts) if self.cache_parts else None,
            "retry_of": self.retry_of,
            "trace_context": record.encode(trace) if trace else None,
        }


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended; `cache` is set if its result came from elsewhere.

    The result may answer equal tasks for `fresh_seconds`.
    """

    status: str
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    fresh_seconds: int = 0
    cache: Mapping[str, Any] | None = None


def submit(
    conn: Connection,
    task: NewTask,
    *,
    redispatch_seconds: float,
    leads: bool = False,
    plan_spec: Mapping[str, Any] | None = None,
    decisions: Mapping[str, Mapping[str, Any]] | None = None,
) -> datetime | None:
    """Insert the task, its plan row and its first event in one statement; return when it was created.

    Returns None and inserts nothing if the tenant has already submitted a task under the same name. With `leads` equal
    tasks may follow it; raises IntegrityError if another task with the same key leads already. `plan_spec` is the plan
    row's spec: a retry's instructions for the planner.
    """
    values = {
        **task.values(),
        "step_id": step_id(task.id, round_number=0, name="$plan"),
        "redispatch_seconds": redispatch_seconds,
        "leads": leads,
        "plan_spec": record.encode(plan_spec or {}),
        "decisions": as_decisions(decisions or {}),
    }
    row = _SUBMIT.first(conn, values)
    return row["created_at"] if row else None


def hold_source(conn: Connection, tenant: str, task_id: str) -> SourceTask | None:
    """Return the tenant's task, locked against deletion until the transaction ends; None if there is none."""
    row = conn.exec_driver_sql(_SQL["hold_source"], {"tenant": tenant, "task_id": task_id}).one_or_none()
    return SourceTask(*row) if row else None


def link_retry(conn: Connection, retry_id: str, *, source_id: str, told: Mapping[str, Any]) -> None:
    """Link the two tasks in each other's trace; `told` is how the retry differs."""
    values = {"retry_id": retry_id, "source_id": source_id, "told": record.encode(told)}
    conn.exec_driver_sql(_SQL["link_retry"], values)


def enter_finishing(conn: Connection, task_id: str) -> None:
    """Record that a judged task's answer is being written; changes nothing in any other phase."""
    conn.exec_driver_sql(_SQL["enter_finishing"], {"task_id": task_id})


def find_task(conn: Connection, tenant: str, task_id: str) -> TaskRecord | None:
    """Return the tenant's task; None if there is none, or it is another tenant's."""
    rows = _tasks(conn.exec_driver_sql(_SQL["find_task"], {"tenant": tenant, "task_id": task_id}))
    return rows[0] if rows else None


def count_open(conn: Connection, tenant: str, *, limit: int) -> int:
    """Return how many tasks of the tenant are open, at most `limit`."""
    return int(conn.exec_driver_sql(_SQL["count_open"], {"tenant": tenant, "limit": limit}).scalar_one())


def steps_of(conn: Connection, task_id: str) -> list[StepRecord]:
    """Return the latest row of every step of the task, in the plan's order."""
    rows: Iterable[Any] = _STEPS_OF.execute(conn, {"task_id": task_id})
    return [StepRecord(*row) for row in rows]


def waits(conn: Connection, task_id: str) -> Waits:
    """Return the arms that the task's queued steps wait for and that no live pool serves, and its open approvals."""
    values = {"task_id": task_id, "within_seconds": ALIVE_WITHIN_SECONDS}
    rows = _WAITS.execute(conn, values).all()
    return Waits(
        [row.arm for row in rows if row.arm is not None],
        [OpenApproval(*tuple(row)[1:]) for row in rows if row.arm is None],
    )


def lock_task(conn: Connection, task_id: str) -> LockedTask | None:
    """Lock the task's row until the transaction ends; lock its chord first, its steps after."""
    row = _LOCK_TASK.execute(conn, {"task_id": task_id}).mappings().one_or_none()
    return LockedTask(**row) if row else None


def current_round(conn: Connection, task_id: str, *, tenant: str | None = None) -> int | None:
    """Return the number of the task's round without a lock; None if the tenant has no such task."""
    values = {"task_id": task_id, "tenant": tenant}
    number: int | None = conn.exec_driver_sql(_SQL["current_round"], values).scalar_one_or_none()
    return number


def past_deadline(conn: Connection, *, limit: int) -> list[str]:
    """Return ids of open tasks whose deadline has passed, the oldest deadline first."""
    return [row.id for row in conn.exec_driver_sql(_SQL["past_deadline"], {"limit": limit})]


def finish_task(conn: Connection, task_id: str, end: TaskEnd) -> bool:
    """Write the task's end; False if it has ended before."""
    values = {
        "fresh_seconds": end.fresh_seconds,
        "cache": record.encode(end.cache) if end.cache is not None else None,
        "task_id": task_id,
        "status": end.status,
        "result": record.encode(end.result) if end.result is not None else None,
        "error": record.encode(end.error) if end.error is not None else None,
    }
    return conn.exec_driver_sql(_SQL["finish_task"], values).rowcount == 1


def _tasks(rows: CursorResult[Any]) -> list[TaskRecord]:
    names = [field.name for field in fields(TaskRecord)]
    return [TaskRecord(**{name: row[name] for name in names}) for row in rows.mappings()]

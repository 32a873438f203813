"""What a client does to a task: submit it, cancel it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine

from orchestrator.auth.callback import parse_callback
from orchestrator.cache.exact import ResultCache
from orchestrator.cache.submission_cache import BYPASSED, CacheStatus, SubmissionCache
from orchestrator.lifecycle.ending import Ended, end_task, task_error, with_locked_task
from orchestrator.memory import files, submissions, tasks
from orchestrator.memory.steps import StepMessage
from orchestrator.memory.submissions import IdempotencyKey
from orchestrator.memory.tasks import LockedTask, NewTask, TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import (
    IdempotencyConflict,
    InvalidInput,
    InvalidOperation,
    NotFound,
    Unavailable,
)
from orchestrator.models.execution_state import PLAN_STEP, TaskStatus
from orchestrator.models.ids import TaskId, new_task_id, step_id
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_plan
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.settings import Settings

Publish = Callable[[Sequence[StepMessage]], int]


@dataclass(frozen=True)
class Submitted:
    """An accepted task: it is in the database, whatever happens to the message.

    `is_replay`: an earlier submission of the same name made it; the answer is the same as then. `redacted` is how
    many of which kind were taken out of it at the door.
    """

    task_id: TaskId
    status: TaskStatus
    created_at: datetime
    is_replay: bool = False
    cached: CacheStatus = BYPASSED
    redacted: Mapping[str, int] = field(default_factory=dict)


def submit(
    engine: Engine,
    publish: Publish,
    *,
    settings: Settings,
    tenant: str,
    key_id: str | None,
    request_id: str | None,
    contract: Contract,
    idempotency: IdempotencyKey | None = None,
    cache: ResultCache | None = None,
    scopes: frozenset[str] = frozenset(),
    require_room: Callable[[], None] = lambda: None,
) -> Submitted:
    """Accept a task: answered by an earlier result, coalesced with one that runs, or written and then published.

    With `once` a second call makes nothing; without `cache` the task runs. `require_room` is called before work is
    added, and may raise. Raises InvalidPlan for a plan that can't run, Unplannable when there is no way to one,
    InvalidInput for attachments that are not there, NotCached when the task is not to run and no result is there,
    IdempotencyConflict when the name of `once` stands for something else.
    """
    plan = None
    if contract.plan is not None:
        plan = check_plan(
            contract.plan, attachments=contract.attachments, budget=contract.budget, contract=contract
        )
    if contract.callback_url is not None:
        _require_callback(contract.callback_url, settings)
    task_id = new_task_id()
    task = NewTask(task_id, tenant, key_id, request_id, contract, idempotency)
    submission_cache = SubmissionCache(cache, task, plan=plan, scopes=scopes)
    with tenant_statement(engine, tenant) as conn:
        attachments = _attachments(conn, tenant, contract.attachments) if contract.attachments else []
        accepted = submission_cache.serve(conn)
    if accepted is None:
        if contract.plan is None and not settings.models:
            # planners make the same plan of it, or none
            plan_by_recipe(contract, attachments)
        require_room()
        with tenant_statement(engine, tenant) as conn:
            accepted = submission_cache.follow_or_run(conn, redispatch_seconds=settings.redispatch_seconds)
    if accepted is None:
        return require_earlier(engine, tenant=tenant, idempotency=idempotency)
    if accepted.needs_planning:
        crash_point.here(Point.SUBMITTED_NOT_PUBLISHED)
        publish([plan_message(task_id, contract)])
    return Submitted(
        task_id,
        accepted.status,
        accepted.created_at,
        cached=accepted.cached,
        redacted=contract.redacted,
    )


def find_earlier(engine: Engine, *, tenant: str, idempotency: IdempotencyKey | None) -> Submitted | None:
    """Return what an earlier submission of the same name made, if there was one.

    Raises IdempotencyConflict when its body was another one.
    """
    if idempotency is None:
        return None
    with tenant_statement(engine, tenant) as conn:
        earlier = submissions.find(conn, tenant, idempotency.name)
    if earlier is None:
        return None
    if earlier.sha256 != idempotency.sha256:
        raise IdempotencyConflict
    return Submitted(
        TaskId(earlier.task_id),
        TaskStatus.QUEUED,
        earlier.created_at,
        is_replay=True,
        redacted=earlier.redacted,
    )


def require_earlier(engine: Engine, *, tenant: str, idempotency: IdempotencyKey | None) -> Submitted:
    """Return what an earlier submission of the same name made; raises Unavailable when it is gone meanwhile."""
    earlier = find_earlier(engine, tenant=tenant, idempotency=idempotency)
    if earlier is None:
        raise Unavailable("An earlier submission with this name has just been forgotten; send it again.")
    return earlier


def cancel(engine: Engine, *, tenant: str, task_id: str, reason: str = "") -> tuple[TaskRecord, Ended | None]:
    """Cancel the tenant's task; return it, and what that stopped (None when it was cancelled before).

    Raises NotFound, and InvalidOperation when the task has completed or failed. Calling it twice is safe.
    """
    ended = with_locked_task(engine, task_id, lambda conn, task: _cancel(conn, task, reason), tenant=tenant)
    with tenant_statement(engine, tenant) as conn:
        task = tasks.find_task(conn, tenant, task_id)
    if task is None:
        raise NotFound(f"There is no task {task_id}.")
    return task, ended


def _cancel(conn: Connection, task: LockedTask, reason: str) -> Ended | None:
    status = TaskStatus(task.status)
    if status is TaskStatus.CANCELLED:
        return None
    if status.is_final():
        raise InvalidOperation(f"{task.id} has already {status.value}; only an open task can be cancelled.")
    message = f"Cancelled: {reason}" if reason else "Cancelled by the client."
    error = task_error("cancelled", code="cancelled", message=message)
    return end_task(conn, task, status=TaskStatus.CANCELLED, error=error)


def _attachments(conn: Connection, tenant: str, ids: Sequence[str]) -> list[Attachment]:
    found = [
        Attachment(item.sha256, item.filename, item.media_type, item.size_bytes)
        for item in files.describe(conn, tenant, ids)
    ]
    known = {item.sha256 for item in found}
    missing = [item for item in ids if item not in known]
    if missing:
        raise InvalidInput.at(
            "attachments", f"no such file: {', '.join(missing)}; send it to POST /v1/files first"
        )
    return found


def _require_callback(url: str, settings: Settings) -> None:
    if not settings.webhook_allowed_hosts and not settings.webhook_local_targets:
        raise InvalidInput.at("callback_url", "webhooks are off here; read the task's events instead")
    parse_callback(
        url, allowed_hosts=settings.webhook_allowed_hosts, local_targets=settings.webhook_local_targets
    )


def plan_message(task_id: TaskId, contract: Contract) -> StepMessage:
    """Return what the message of a new task's plan row says."""
    return StepMessage(
        id=step_id(task_id, round_number=0, name=PLAN_STEP),
        task_id=task_id,
        name=PLAN_STEP,
        kind="plan",
        arm="planner",
        queue="planner",
        priority=contract.priority.broker_priority,
        chord_id=None,
        round=0,
        spec={},
    )

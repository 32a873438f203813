"""What a client does to a task that has ended: run it again, as a new one that reuses what had finished."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle.reuse import Source
from orchestrator.lifecycle.submission import Publish, Submitted, plan_message, require_earlier
from orchestrator.memory import rounds, tasks
from orchestrator.memory.submissions import IdempotencyKey
from orchestrator.memory.tasks import NewTask, SourceTask
from orchestrator.models.errors import InvalidInput, InvalidOperation, NotFound
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.ids import TaskId, new_task_id
from orchestrator.models.task_contract import Contract
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.settings import Settings


def retry(
    engine: Engine,
    publish: Publish,
    *,
    settings: Settings,
    tenant: str,
    key_id: str | None,
    request_id: str | None,
    task_id: str,
    from_step: str | None = None,
    idempotency: IdempotencyKey | None = None,
) -> Submitted:
    """Accept a new task with the contract of an ended one, and publish its planning; with `once` as `submit` does.

    Nobody plans: the plan row names the ended task, whose plan and results are taken over when the round is saved.
    Raises NotFound, InvalidOperation for a task that is still open, InvalidInput for a `from_step` that its plan does
    not have, IdempotencyConflict.
    """
    new_id = new_task_id()

    def accept(conn: Connection) -> tuple[Contract, datetime | None]:
        source = _hold_ended(conn, tenant, task_id)
        contract = _contract_of(source)
        created_at = tasks.submit(
            conn,
            NewTask(new_id, tenant, key_id, request_id, contract, idempotency, retry_of=source.id),
            redispatch_seconds=settings.redispatch_seconds,
            plan_spec=_plan_spec(conn, source, from_step),
        )
        if created_at is not None:
            tasks.link_retry(conn, new_id, source_id=source.id, from_step=from_step)
        return contract, created_at

    contract, created_at = in_transaction(engine, accept)
    if created_at is None:
        return require_earlier(engine, tenant=tenant, idempotency=idempotency)
    crash_point.here(Point.SUBMITTED_NOT_PUBLISHED)
    publish([plan_message(new_id, contract)])
    return Submitted(TaskId(new_id), TaskStatus.QUEUED, created_at)


def _hold_ended(conn: Connection, tenant: str, task_id: str) -> SourceTask:
    source = tasks.hold_source(conn, tenant, task_id)
    if source is None:
        raise NotFound(f"There is no task {task_id}.")
    if not TaskStatus(source.status).is_final():
        raise InvalidOperation(
            f"{task_id} is still {source.status}; only a task that has ended can be retried."
        )
    return source


def _contract_of(source: SourceTask) -> Contract:
    """Return the ended task's contract, without a deadline that could not be met any more."""
    contract = Contract.from_record(source.contract)
    return replace(contract, deadline=None) if source.is_too_late else contract


def _plan_spec(conn: Connection, source: SourceTask, from_step: str | None) -> dict[str, object]:
    """Return what the new task's plan row says: whose plan to take over, or nothing where there is none."""
    if not source.round:
        if from_step is not None:
            raise InvalidInput.at("from_step", f"{source.id} was never planned, so it has no steps")
        return {}
    plan = rounds.read(conn, source.id, number=source.round).plan
    names = [step.id for step in plan.steps]
    if from_step is not None and from_step not in names:
        raise InvalidInput.at(
            "from_step", f"the plan of {source.id} has no such step; it has {', '.join(names)}"
        )
    return Source(source.id, source.round, from_step).to_spec()

"""Reads a task for the tenant that called; another tenant's task is reported as not found."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from api.middleware import context
from api.middleware.problem import CursorAhead
from api.schemas import task_status
from orchestrator.auth.credential import Principal
from orchestrator.memory import tasks
from orchestrator.memory.tasks import StepRecord, TaskRecord, Waits
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import NotFound
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.ids import is_task_id
from orchestrator.observability import log

_READINGS: Final = 4


def find_task(principal: Principal, task_id: str) -> TaskRecord:
    """Return the caller's task. Raises NotFound for an unknown or malformed id, or another tenant's task."""
    task = None
    if is_task_id(task_id):
        log.bind(task_id=task_id)
        with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
            task = tasks.find_task(conn, principal.tenant, task_id)
    if task is None:
        raise NotFound("There is no such task.")
    return task


def find_task_after(principal: Principal, task_id: str, after: int) -> TaskRecord:
    """Return the caller's task, whose events after number `after` the caller wants.

    Raises as `find_task` and `require_event` do.
    """
    task = find_task(principal, task_id)
    require_event(task, after)
    return task


def require_event(task: TaskRecord, number: int) -> None:
    """Raise CursorAhead if the task has no event of this number, which a caller says to have.

    Events are sent after their commit, so the caller has it from a database that was lost: the one that was restored
    tells another story from some earlier number on.
    """
    if number > task.event_seq:
        raise CursorAhead(
            f"The last event of {task.id} is number {task.event_seq}, and you ask for those after {number}: the "
            "database was restored from a backup. Forget what you read and read again with after=0.",
            details={"after": number, "last": task.event_seq},
        )


def read_status(task: TaskRecord) -> dict[str, object]:
    """Return the task's status with its steps, and the arms and approvals that it waits for.

    A task that reuses another task's result has that task's steps.
    """
    with tenant_statement(context.orchestrator().engine, task.tenant) as conn:
        task, steps = _same_moment(conn, task)
        is_open = not TaskStatus(task.status).is_final()
        waits = tasks.waits(conn, task.worker_id) if is_open else Waits()
    planned = [step for step in steps if step.is_planned]
    return task_status.task_status(task, steps=planned, waits=waits)


def _same_moment(conn: Connection, task: TaskRecord) -> tuple[TaskRecord, Sequence[StepRecord]]:
    """Return the task and its steps as both were after the same event.

    Both are read again if an event came in between: a few times, then the steps may be newer than the task.
    """
    for _ in range(_READINGS):
        steps = tasks.steps_of(conn, task.worker_id)
        if task.cache is not None or not steps or steps[0].event_seq == task.event_seq:
            break
        task = tasks.find_task(conn, task.tenant, task.id) or task
    return task, steps

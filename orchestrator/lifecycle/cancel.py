"""Cancels a task for its client."""

from sqlalchemy import Connection, Engine

from orchestrator.lifecycle.ending import Ended, Ending, end_task, task_error, with_locked_task
from orchestrator.memory import tasks
from orchestrator.memory.tasks import LockedTask, TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import InvalidOperation, NotFound
from orchestrator.models.execution_state import TaskStatus


def cancel(engine: Engine, *, tenant: str, task_id: str, reason: str = "") -> tuple[TaskRecord, Ended | None]:
    """Cancel the tenant's task; return it and its end, or None when it was cancelled before.

    Raises NotFound, and InvalidOperation when the task has completed or failed. Calling it twice is safe.
    """
    ended = with_locked_task(engine, task_id, lambda conn, task: _cancel(conn, task, reason), tenant=tenant)
    with tenant_statement(engine, tenant) as conn:
        task = tasks.find_task(conn, tenant, task_id)
    if task is None:
        raise NotFound(f"There is no task {task_id}.")
    return task, ended


def cancel_open(engine: Engine, task_id: str, *, reason: str) -> Ended | None:
    """Cancel a task of any tenant; None when it has ended, or there is none."""

    def end(conn: Connection, task: LockedTask) -> Ended | None:
        return None if TaskStatus(task.status).is_final() else _cancel(conn, task, reason)

    return with_locked_task(engine, task_id, end)


def _cancel(conn: Connection, task: LockedTask, reason: str) -> Ended | None:
    status = TaskStatus(task.status)
    if status is TaskStatus.CANCELLED:
        return None
    if status.is_final():
        raise InvalidOperation(f"{task.id} has already {status.value}; only an open task can be cancelled.")
    message = f"Cancelled: {reason}" if reason else "Cancelled by the client."
    error = task_error("cancelled", code="cancelled", message=message)
    return end_task(conn, task, Ending(TaskStatus.CANCELLED, error=error))

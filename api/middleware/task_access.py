"""Reads a task for the tenant that called; another tenant's task is reported as not found."""

from api.middleware import context
from api.schemas import task_status
from orchestrator.auth.credential import Principal
from orchestrator.memory import tasks
from orchestrator.memory.tasks import TaskRecord, Waits
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import NotFound
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.ids import is_task_id
from orchestrator.observability import log


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


def read_status(task: TaskRecord) -> dict[str, object]:
    """Return the task's status with its steps, and the arms and approvals that it waits for.

    A task that reuses another task's result has that task's steps.
    """
    with tenant_statement(context.orchestrator().engine, task.tenant) as conn:
        steps = [step for step in tasks.steps_of(conn, task.worker_id) if step.is_planned]
        is_open = not TaskStatus(task.status).is_final()
        waits = tasks.waits(conn, task.worker_id) if is_open else Waits()
    return task_status.task_status(task, steps=steps, waits=waits)

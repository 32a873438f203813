"""Finds a caller's task, and answers where it stands."""

from flask import Response, jsonify, request

from api.middleware import context
from api.schemas import serializers
from orchestrator.auth.credential import Principal
from orchestrator.memory import tasks
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import NotFound
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.ids import is_task_id
from orchestrator.observability import log


def find(principal: Principal, task_id: str) -> TaskRecord:
    """Return the caller's task; another tenant's is not there, and neither is what can't be an id."""
    task = None
    if is_task_id(task_id):
        log.bind(task_id=task_id)
        with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
            task = tasks.find_task(conn, principal.tenant, task_id)
    if task is None:
        raise NotFound("There is no such task.")
    return task


def status_of(task: TaskRecord) -> dict[str, object]:
    """Return the task's status with its steps and the arms it waits for.

    Of a task that another one's result answers, or is to answer, these are the other one's.
    """
    with tenant_statement(context.orchestrator().engine, task.tenant) as conn:
        steps = tasks.steps_of(conn, task.worker_id)
        is_open = not TaskStatus(task.status).is_final()
        waiting_for = tasks.waiting_arms(conn, task.worker_id) if is_open else []
    return serializers.task_status(task, steps=steps, waiting_for=waiting_for)


def answer(task: TaskRecord) -> Response:
    """Answer the task's status with an ETag; 304 when If-None-Match names it."""
    response = jsonify(status_of(task))
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response

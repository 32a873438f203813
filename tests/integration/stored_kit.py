"""Stores outcomes through the result backend, as a worker does, and shows every row and message that this left."""

import json
import re
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.app.task import Context

from orchestrator.memory.claims import Claim
from orchestrator.models.execution_state import StepKind
from orchestrator.models.step_result import StepResult
from orchestrator.queue.app import TASK_NAMES
from tests.integration.kit import Engineer
from workers.attempt.base_task import AttemptState, WorkFailed

_QUEUES = ("arm.executor", "judge", "planner")
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\"]*")
_MEASURED = {"duration_ms", "waited_ms", "permit", "wait_seconds"}
_ROWS = {
    "tasks": "SELECT to_jsonb(t) AS row FROM tasks t WHERE id = %(task)s",
    "rounds": "SELECT to_jsonb(r) AS row FROM rounds r WHERE task_id = %(task)s ORDER BY number",
    "steps": "SELECT to_jsonb(s) AS row FROM steps s WHERE task_id = %(task)s ORDER BY round, name",
    "events": "SELECT to_jsonb(e) AS row FROM events e WHERE task_id = %(task)s ORDER BY seq",
    "traces": "SELECT to_jsonb(d) - 'id' AS row FROM traces d WHERE task_id = %(task)s ORDER BY id",
    "ledger": "SELECT to_jsonb(l) AS row FROM ledger l WHERE task_id = %(task)s ORDER BY step_id, attempt, call",
    "approvals": """
        SELECT to_jsonb(a) - 'id' || jsonb_build_object('late', a.expires_at > a.asked_at) AS row
        FROM approvals a WHERE task_id = %(task)s ORDER BY round, step""",
    "webhooks": "SELECT to_jsonb(w) AS row FROM webhooks w WHERE task_id = %(task)s ORDER BY seq",
    "chords": """
        SELECT to_jsonb(c) || jsonb_build_object('body', convert_from(c.body, 'UTF8')::jsonb) AS row
        FROM chords c
        JOIN rounds r ON r.chord_id = c.id
        WHERE r.task_id = %(task)s
        ORDER BY r.number""",
}


def store(app: Celery, claim: Claim, outcome: Any) -> AttemptState:
    """Report the outcome of an attempt to the result backend, as Celery does."""
    task: Any = app.tasks[TASK_NAMES[StepKind(claim.kind)]]
    state = AttemptState(claim, outcome)
    request = Context(id=claim.id, task=task.name, group=claim.chord_id, attempt_state=state)
    backend: Any = app.backend
    if isinstance(outcome, StepResult) and outcome.error is not None:
        failed = WorkFailed(str(outcome.error["code"]))
        backend.mark_as_failure(claim.id, failed, request=request, store_result=False)
    else:
        backend.mark_as_done(claim.id, {"status": "done"}, request, False)
    return state


def messages(app: Celery, queues: Sequence[str] = _QUEUES) -> list[dict[str, Any]]:
    """Take all messages from the broker; each with its queue, headers, priority and body."""
    found = []
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        for queue in queues:
            while message := channel.basic_get(queue, no_ack=True):
                # argsrepr shows a tuple or, from a chord's stored body, a list
                headers = {name: kept for name, kept in message.headers.items() if name != "argsrepr"}
                priority = message.properties["priority"]
                found.append(
                    {"queue": queue, "priority": priority, "headers": headers, "body": message.payload}
                )
    return found


def rows(engineer: Engineer, task_id: str) -> dict[str, list[Any]]:
    """Return a task's rows by table; ids become names, and times only show that there is one."""
    return {
        table: [alike(row["row"], engineer, task_id) for row in engineer.ask(sql, task=task_id)]
        for table, sql in _ROWS.items()
    }


def alike(value: Any, engineer: Engineer, task_id: str) -> Any:
    """Return a JSON value without what differs between two tasks of the same plan."""
    steps = engineer.ask("SELECT id, round, name FROM steps WHERE task_id = %(task)s", task=task_id)
    rounds = engineer.ask(
        "SELECT chord_id, plan_id, number FROM rounds WHERE task_id = %(task)s", task=task_id
    )
    names = {row["id"]: f"<step {row['round']} {row['name']}>" for row in steps}
    names |= {row["chord_id"]: f"<chord {row['number']}>" for row in rounds}
    names |= {row["plan_id"]: "<plan>" for row in rounds} | {task_id: "<task>"}
    approvals = engineer.ask("SELECT id, round, step FROM approvals WHERE task_id = %(task)s", task=task_id)
    names |= {row["id"]: f"<approval {row['round']} {row['step']}>" for row in approvals}
    text = json.dumps(value, default=str)
    for one, name in names.items():
        text = text.replace(one, name)
    return _untimed(json.loads(_TIMES.sub("<time>", text)))


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "<measured>" if name in _MEASURED and child is not None else _untimed(child)
            for name, child in value.items()
        }
    return [_untimed(child) for child in value] if isinstance(value, list) else value

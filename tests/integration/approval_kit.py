"""Steps that ask a person, and the person who decides."""

from collections.abc import Iterator
from typing import Any

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.lifecycle import approvals
from orchestrator.lifecycle.approvals import DecisionMade
from orchestrator.memory.approvals import ApprovalRecord, list_approvals
from orchestrator.memory.hints import Hints
from orchestrator.models.approval import Decision, Verb
from tests.integration.kit import TENANT, Engineer, wait_step
from workers import approval_sweep
from workers.runtime import process
from workers.tasks import app


def gated(name: str, *after: str, inputs: dict[str, Any] | None = None, **approval: Any) -> dict[str, Any]:
    """Return a client's step that asks before it runs."""
    more = {} if inputs is None else {"inputs": inputs}
    return wait_step(name, *after, approval={"ask": f"run {name}?", **approval}, **more)


def question(name: str, *after: str, schema: dict[str, Any] | None = None, **approval: Any) -> dict[str, Any]:
    """Return a client's step that asks a person for its output."""
    return {
        "id": name,
        "arm": "human",
        "action": "answer",
        "inputs": {"question": "which?", **({"schema": schema} if schema else {})},
        "depends_on": list(after),
        "approval": approval,
    }


def asked(engineer: Engineer, task_id: str, step: str) -> ApprovalRecord:
    """Return the newest approval of a step."""
    with statement(engineer.engine) as conn:
        return next(one for one in list_approvals(conn, TENANT, task_id=task_id) if one.step == step)


def decide(
    engineer: Engineer, approval: ApprovalRecord, verb: Verb = Verb.APPROVE, *, by: str = "ann", **more: Any
) -> DecisionMade:
    """Decide as a person called `by`."""
    return approvals.decide(
        engineer.engine,
        tenant=TENANT,
        approval_id=approval.id,
        decision=Decision(verb, by=by, via="api", **more),
        settings=engineer.settings,
    )


def let_expire(engineer: Engineer, approval: ApprovalRecord) -> None:
    """Move the end of an approval's time to now."""
    engineer.ask("UPDATE approvals SET expires_at = now() WHERE id = %(id)s", id=approval.id)


def sweeping(engineer: Engineer) -> WorkerProcess:
    """Return a sweeper's process, in which the workers' tasks are known."""
    process.start(app, service="tests")
    settings = engineer.settings
    return WorkerProcess(settings, engineer.engine, Hints(settings.redis_url), app, owner="sweeper")


def sweep(worker: WorkerProcess) -> int:
    """Do once what a sweeper does about approvals."""
    return approval_sweep.attend(worker, limit=100)


def kinds(engineer: Engineer, task_id: str) -> Iterator[str]:
    """Yield the types of the task's events about approvals."""
    yield from (one.type for one in engineer.events(task_id) if one.type.startswith("approval."))

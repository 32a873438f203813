"""Begins and loses effects, as workers do."""

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.lifecycle import requeue
from orchestrator.lifecycle.effects import Loss
from orchestrator.memory import effects
from orchestrator.memory.approvals import ApprovalRecord, list_approvals
from orchestrator.memory.claims import Claim
from tests.integration.kit import TENANT, Engineer
from tests.ledger import append
from workers.runtime.lost_effect import ask_about


def begin(engineer: Engineer, claim: Claim, *, once: bool = True) -> bool:
    with statement(engineer.engine) as conn:
        return effects.begin(conn, claim.id, attempt=claim.attempt, once=once)


def expire(engineer: Engineer, claim: Claim) -> None:
    """Let the lease of the row end."""
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=claim.id)


def all_asked(engineer: Engineer, task_id: str) -> list[ApprovalRecord]:
    with statement(engineer.engine) as conn:
        return list_approvals(conn, TENANT, task_id=task_id)


def lose(engineer: Engineer, worker: WorkerProcess, how: str) -> Claim:
    """Begin the effect of a task's only step and lose its attempt."""
    claim = engineer.take(engineer.start(append("a")), "a", owner="host:1")
    assert begin(engineer, claim)
    if how == "lease_expired":
        expire(engineer, claim)
        assert requeue.expire_lease(engineer.engine, claim.id, task_id=claim.task_id) is None
        assert ask_about(worker, Loss(claim.id, claim.task_id, reason=how))
        return claim
    # as the pool's parent does when a child dies, and a worker that shuts down
    assert (
        requeue.hand_back(engineer.engine, claim.id, task_id=claim.task_id, owner="host:1", died=True) is None
    )
    assert ask_about(worker, Loss(claim.id, claim.task_id, reason=how, owner="host:1"))
    return claim

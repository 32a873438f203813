"""Asks a person about a write whose outcome is unknown, so that it never runs a second time by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine

from orchestrator.chord import chord
from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle import approvals
from orchestrator.lifecycle.event_payloads import lost_attempt, queued_events
from orchestrator.memory import claims, effects, events, steps, tasks
from orchestrator.memory.effects import LostEffect
from orchestrator.memory.steps import StepMessage
from orchestrator.models.approval import ALLOWED, ApprovalKind, Gate
from orchestrator.models.errors import OutcomeUnknown
from orchestrator.settings import Settings

_MAX_WHY: Final = 500
"""Most characters of an arm's own message in the question."""
_REASONS: Final = {
    "lease_expired": "its worker stopped answering",
    "worker_lost": "its worker died",
    "handed_back": "its worker was shut down",
}


@dataclass(frozen=True)
class Loss:
    """Why nobody can say whether a begun effect happened.

    `reason` is lease_expired, worker_lost, handed_back or reported. With `attempt` that attempt reports its `error`;
    with `owner` that process is gone; with neither the lease must have expired.
    """

    step_id: str
    task_id: str
    reason: str
    attempt: int | None = None
    owner: str | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class AskedOutcome:
    """A row that waits for a decision about its effect, and the rows that got its slot."""

    row: LostEffect
    approval_id: str
    messages: Sequence[StepMessage]


def ask(engine: Engine, loss: Loss, *, settings: Settings) -> AskedOutcome | None:
    """Let the step wait and ask a person; None when no effect has begun, or the attempt ended in another way.

    Locks the chord, the task and the step, in this order. Calling it twice asks once.
    """

    def work(conn: Connection) -> AskedOutcome | None:
        chord_id = effects.find_begun(conn, loss.step_id)
        if chord_id is None:
            return None
        chord.lock(conn, chord_id)
        task = tasks.lock_task(conn, loss.task_id)
        if task is None or task.finished_at is not None:
            return None
        claims.announce(conn, loss.step_id)
        row = effects.lose(conn, loss.step_id, attempt=loss.attempt, owner=loss.owner)
        if row is None:
            return None
        _tell(conn, row, loss)
        begun = steps.release(
            conn,
            task.id,
            round_number=row.round,
            max_parallel=settings.max_parallel_arms,
            redispatch_seconds=settings.redispatch_seconds,
        )
        chord.join(conn, chord_id, [message.id for message in begun])
        events.write(conn, task.id, queued_events(begun), round_number=row.round)
        asked = approvals.request_outcome(
            conn, task, row.id, terms=_terms(row, loss), known=_known(row, loss)
        )
        approvals.request(conn, task, begun)
        return AskedOutcome(row, asked.id, begun)

    return in_transaction(engine, work)


def _terms(row: LostEffect, loss: Loss) -> Gate:
    """Return what is asked; nobody's answer counts as a rejection."""
    why = _REASONS.get(loss.reason) or str((loss.error or {}).get("message", "it can't know"))[:_MAX_WHY]
    ask = (
        f"Did step {row.name} take effect? Attempt {row.attempt} began at {row.started_at.isoformat()} on "
        f"{row.owner} and its outcome is unknown: {why}. Look for the idempotency key {row.id} where it writes. "
        "run_again: it did not take effect. accept: it did; give the step's output. reject: fail the step."
    )
    allow = tuple(verb.value for verb in ALLOWED[ApprovalKind.OUTCOME])
    return Gate(ask, on_expiry="reject", allow=allow)


def _known(row: LostEffect, loss: Loss) -> dict[str, Any]:
    return {
        "idempotency_key": row.id,
        "attempt": row.attempt,
        "worker": row.owner,
        "started_at": row.started_at.isoformat(),
        "reason": loss.reason,
        "error": dict(loss.error) if loss.error else None,
    }


def _tell(conn: Connection, row: LostEffect, loss: Loss) -> None:
    """Write what happened to the task's events and the attempt to its trace."""
    fact = {
        **lost_attempt(row, loss.reason),
        "error": dict(loss.error or {"code": OutcomeUnknown.code, "message": _REASONS[loss.reason]}),
    }
    events.write(
        conn,
        row.task_id,
        [("step.outcome_unknown", fact)],
        round_number=row.round,
        decisions={"attempt": {**fact, "outcome": OutcomeUnknown.code}},
    )

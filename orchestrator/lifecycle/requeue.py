"""Returns a claimed row to its queue: after a failure, for lack of room, or because its owner is gone."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine

from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle.event_payloads import claim_ids, lost_attempt
from orchestrator.memory import claims, events, steps, tasks
from orchestrator.memory.claims import Claim
from orchestrator.memory.steps import Reclaimed
from orchestrator.models.errors import MustWait

_LEAST_DELAY_SECONDS = 0.05


def retry_step(conn: Connection, claim: Claim, *, error: Mapping[str, Any], delay_seconds: float) -> bool:
    """Queue a failed attempt again after `delay_seconds`; False when the attempt is no longer the current one."""
    if not _is_open(conn, claim.task_id):
        return False
    claims.announce(conn, claim.id)
    failures = steps.retry(conn, claim.id, attempt=claim.attempt, delay_seconds=delay_seconds)
    if failures is None:
        return False
    fact = {
        **claim_ids(claim),
        "failures": failures,
        "delay_seconds": round(delay_seconds, 3),
        "error": dict(error),
    }
    attempt = {**fact, "outcome": "retried"}
    events.write(
        conn,
        claim.task_id,
        [("step.retrying", fact)],
        round_number=claim.round,
        decisions={"attempt": attempt},
    )
    return True


def postpone(engine: Engine, claim: Claim, wait: MustWait) -> bool:
    """Queue a claimed row again for when there may be room; counts neither as a failure nor as a kill.

    False when the attempt is no longer the current one.
    """
    delay = max(float(wait.details.get("retry_after", 1.0)), _LEAST_DELAY_SECONDS)

    def work(conn: Connection) -> bool:
        if not _is_open(conn, claim.task_id):
            return False
        claims.announce(conn, claim.id)
        if not steps.postpone(conn, claim.id, attempt=claim.attempt, delay_seconds=delay):
            return False
        fact = {
            **claim_ids(claim),
            "failures": claim.failures,
            "delay_seconds": round(delay, 3),
            "error": {"code": wait.code, "message": wait.message},
        }
        events.write(conn, claim.task_id, [("step.retrying", fact)], round_number=claim.round)
        return True

    return in_transaction(engine, work)


def expire_lease(engine: Engine, step_id: str, *, task_id: str) -> Reclaimed | None:
    """Take a row from an owner that did not renew its lease; None when it did, or the row has ended."""

    def expire(conn: Connection) -> Reclaimed | None:
        tasks.lock_task(conn, task_id)
        claims.announce(conn, step_id)
        return _record(conn, steps.expire(conn, step_id), reason="lease_expired")

    return in_transaction(engine, expire)


def hand_back(engine: Engine, step_id: str, *, task_id: str, owner: str, died: bool) -> Reclaimed | None:
    """Queue a row that `owner` holds at once; None when it does not hold it. `died` counts as a kill of the row."""

    def give(conn: Connection) -> Reclaimed | None:
        tasks.lock_task(conn, task_id)
        claims.announce(conn, step_id)
        row = steps.hand_back(conn, step_id, owner=owner, kills=int(died))
        return _record(conn, row, reason="worker_lost" if died else "handed_back")

    return in_transaction(engine, give)


def _is_open(conn: Connection, task_id: str) -> bool:
    """Lock the task; tell whether it has not ended."""
    task = tasks.lock_task(conn, task_id)
    return task is not None and task.finished_at is None


def _record(conn: Connection, row: Reclaimed | None, *, reason: str) -> Reclaimed | None:
    if row is not None:
        delay = {"delay_seconds": round(row.delay_seconds, 3)} if row.delay_seconds else {}
        fact = {**lost_attempt(row, reason), **delay}
        attempt = {**fact, "outcome": reason}
        events.write(
            conn,
            row.task_id,
            [("step.retrying", fact)],
            round_number=row.round,
            decisions={"attempt": attempt},
        )
    return row

"""Reads and writes approvals: what is asked about a step, who decided what, and what is overdue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, RowMapping

from orchestrator.chord import sql
from orchestrator.memory.steps import StepMessage
from orchestrator.models import record
from orchestrator.models.approval import ApprovalKind, Decision
from orchestrator.models.ids import new_approval_id

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class NewApproval:
    """An approval to be asked about a step that has begun to wait.

    `proposal` is {arm, action, inputs} of what is about to run. The step's spec says who is asked what, and until when;
    for the outcome of an effect `outcome` does, with the members of orchestrator.models.approval.Gate.
    """

    step_id: str
    kind: ApprovalKind
    proposal: Mapping[str, Any]
    proposal_hash: str
    answer_schema: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ApprovalRecord:
    """A row of approvals; `submitted_by` is the id of the key that submitted the task."""

    id: str
    tenant: str
    task_id: str
    step_id: str
    step: str
    round: int
    kind: str
    ask: str
    assignee: str | None
    allow: list[str]
    proposal: dict[str, Any]
    proposal_hash: str
    answer_schema: dict[str, Any] | None
    asked_at: datetime
    expires_at: datetime
    on_expiry: str
    state: str
    decided_by: str | None
    decided_at: datetime | None
    via: str | None
    comment: str
    answer: Any
    once_name: str | None
    once_sha256: str | None
    submitted_by: str | None


@dataclass(frozen=True)
class Decided:
    """An approval that has just been decided, and the message of the step that it released, if it waited."""

    approval: ApprovalRecord
    released: StepMessage | None


@dataclass(frozen=True)
class StepInputs:
    """A step with the results of the steps that it depends on: {name: {status, output, artifact}}."""

    id: str
    name: str
    arm: str
    round: int
    spec: dict[str, Any]
    bound: dict[str, dict[str, Any]] | None


class Overdue(NamedTuple):
    """What a sweeper does about an approval: expire, warn or settle it."""

    id: str
    task_id: str
    what: str


@dataclass(frozen=True)
class Unsettled:
    """A decision that needs no arm, the state of its step, and whether its task has ended."""

    approval: ApprovalRecord
    step_state: str
    has_ended: bool


@dataclass(frozen=True)
class Withdrawn:
    """An approval that the end of its task withdrew."""

    id: str
    step: str
    step_id: str
    round: int
    kind: str


def inputs_of(conn: Connection, step_ids: Sequence[str]) -> list[StepInputs]:
    """Return what the proposals of these steps need, the longest path first."""
    rows = conn.exec_driver_sql(_SQL["inputs_of"], {"ids": list(step_ids)})
    return [StepInputs(*row) for row in rows]


def ask(conn: Connection, new: NewApproval) -> ApprovalRecord:
    """Insert a pending approval and put off the task's deadline by the wait; the caller holds the task's lock.

    It expires at the latest with the deadline that the client set. Raises IntegrityError if the step has one, and
    LookupError if it does not wait.
    """
    values = {
        "id": new_approval_id(),
        "step_id": new.step_id,
        "kind": new.kind.value,
        "proposal": record.encode(new.proposal),
        "proposal_hash": new.proposal_hash,
        "answer_schema": None if new.answer_schema is None else record.encode(new.answer_schema),
        "outcome": None if new.outcome is None else record.encode(new.outcome),
    }
    rows = _records(conn.exec_driver_sql(_SQL["ask"], values))
    if not rows:
        raise LookupError(f"step {new.step_id} does not wait for a person")
    return rows[0]


def find(conn: Connection, tenant: str, approval_id: str) -> ApprovalRecord | None:
    """Return the tenant's approval; None if there is none, or it is another tenant's."""
    rows = _records(conn.exec_driver_sql(_SQL["find"], {"tenant": tenant, "id": approval_id}))
    return rows[0] if rows else None


def list_approvals(
    conn: Connection,
    tenant: str,
    *,
    state: str | None = None,
    task_id: str | None = None,
    assignee: str | None = None,
    limit: int = 50,
    before: str | None = None,
    by_expiry: bool = False,
) -> list[ApprovalRecord]:
    """Return the tenant's approvals behind the one with the id `before`: newest first, or what expires first."""
    asked = {"tenant": tenant, "state": state, "task_id": task_id, "assignee": assignee}
    values = {**asked, "limit": limit, "before": before}
    return _records(conn.exec_driver_sql(_SQL["list_by_expiry" if by_expiry else "list_approvals"], values))


def decide(
    conn: Connection, tenant: str, approval_id: str, *, decision: Decision, redispatch_seconds: float
) -> Decided | None:
    """Record a decision and queue the step; None if the approval is not pending any more, or has another proposal.

    The caller holds the task's lock.
    """
    values = {
        "id": approval_id,
        "tenant": tenant,
        "state": decision.verb.state.value,
        "decided_by": decision.by,
        "via": decision.via,
        "comment": decision.comment,
        "answer": record.encode(decision.value) if decision.has_value else None,
        "proposal_hash": decision.proposal_hash,
        "once_name": decision.once_name,
        "once_sha256": decision.once_sha256,
        "redispatch_seconds": redispatch_seconds,
    }
    return _decided(conn.exec_driver_sql(_SQL["decide"], values))


def take_back(conn: Connection, task_id: str) -> None:
    """Shorten the task's deadline by what no pending approval needs any more; the caller holds the task's lock."""
    conn.exec_driver_sql(_SQL["take_back"], {"task_id": task_id})


def withdraw(conn: Connection, task_id: str) -> list[Withdrawn]:
    """Withdraw the pending approvals of a task that has just ended; the caller holds the task's lock."""
    return [Withdrawn(*row) for row in conn.exec_driver_sql(_SQL["withdraw"], {"task_id": task_id})]


def withdraw_outcome(conn: Connection, step_id: str) -> list[Withdrawn]:
    """Withdraw the pending question about the effect of a step that is done; the caller holds the task's lock."""
    return [Withdrawn(*row) for row in conn.exec_driver_sql(_SQL["withdraw_outcome"], {"step_id": step_id})]


def overdue(conn: Connection, *, limit: int) -> list[Overdue]:
    """Return what a sweeper has to do, at most `limit` of each kind, the longest overdue first."""
    return [Overdue(*row) for row in conn.exec_driver_sql(_SQL["overdue"], {"limit": limit})]


def expire(conn: Connection, approval_id: str, *, redispatch_seconds: float) -> Decided | None:
    """Record that an approval has expired, or that its step may run now, and queue the step; None if it was decided.

    The caller holds the task's lock.
    """
    values = {"id": approval_id, "redispatch_seconds": redispatch_seconds}
    return _decided(conn.exec_driver_sql(_SQL["expire"], values))


def warn(conn: Connection, approval_id: str) -> ApprovalRecord | None:
    """Take the warning of an approval's expiry; None if it was taken, or the approval is not pending."""
    rows = _records(conn.exec_driver_sql(_SQL["warn"], {"id": approval_id}))
    return rows[0] if rows else None


def to_settle(conn: Connection, approval_ids: Sequence[str]) -> list[Unsettled]:
    """Return those of the decisions that are not settled yet, the oldest first."""
    rows = conn.exec_driver_sql(_SQL["to_settle"], {"ids": list(approval_ids)}).mappings()
    return [Unsettled(_record(row), row["step_state"], row["has_ended"]) for row in rows]


def settle(conn: Connection, approval_ids: Sequence[str]) -> None:
    """Record that the steps of these decisions have ended; calling it twice is safe."""
    conn.exec_driver_sql(_SQL["settle"], {"ids": list(approval_ids)})


def last_of_step(conn: Connection, step_id: str) -> ApprovalRecord | None:
    """Return the last approval of a step, or its question; None if nobody was asked."""
    rows = _records(conn.exec_driver_sql(_SQL["last_of_step"], {"step_id": step_id}))
    return rows[0] if rows else None


def pending_of_task(conn: Connection, task_id: str) -> list[ApprovalRecord]:
    """Return the task's pending approvals, the first to expire first."""
    return _records(conn.exec_driver_sql(_SQL["pending_of_task"], {"task_id": task_id}))


_NAMES = [field.name for field in fields(ApprovalRecord)]


def _record(row: RowMapping) -> ApprovalRecord:
    return ApprovalRecord(**{name: row[name] for name in _NAMES})


def _records(rows: CursorResult[Any]) -> list[ApprovalRecord]:
    return [_record(row) for row in rows.mappings()]


def _decided(rows: CursorResult[Any]) -> Decided | None:
    row = rows.mappings().one_or_none()
    if row is None:
        return None
    released = row["released"]
    message = None if released is None else StepMessage(**record.known_members(StepMessage, released))
    return Decided(_record(row), message)

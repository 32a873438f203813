"""The life of an approval: requested when its step would start, then decided or expired, once.

The end of a task withdraws its pending approvals: see lifecycle.ending.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine

from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle import output_offload
from orchestrator.lifecycle.decision_check import check_decision
from orchestrator.lifecycle.ending import (
    Ended,
    Ending,
    end_task,
    task_error,
    with_locked_task,
    withdraw_left_over,
    withdrawn_events,
)
from orchestrator.lifecycle.skipping import Skipped, skip_reason
from orchestrator.memory import approvals, events, tasks, webhooks
from orchestrator.memory.approvals import ApprovalRecord, NewApproval, StepInputs
from orchestrator.memory.events import Fact
from orchestrator.memory.steps import StepMessage
from orchestrator.memory.tasks import LockedTask, TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models import record
from orchestrator.models.approval import ApprovalKind, ApprovalState, Decision, Gate, Proposal, Verb
from orchestrator.models.arm_capability import ARMS, find_action
from orchestrator.models.errors import (
    AlreadyDecided,
    ApprovalExpired,
    ApprovalRejected,
    IdempotencyConflict,
    NotFound,
    OutcomeUnknown,
    StepError,
    TooLate,
)
from orchestrator.models.execution_state import StepState, TaskStatus
from orchestrator.models.plan import Offer
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.planner.plan_files import bind
from orchestrator.settings import Settings

MAX_PROPOSAL_BYTES = 1024 * 1024
"""Most bytes of a proposal as JSON: a person is to read it."""
_READ_AT_ONCE = 50
MAY_RUN = (ApprovalState.APPROVED, ApprovalState.EDITED)
"""The states of an approval whose step may run."""


@dataclass(frozen=True)
class DecisionMade:
    """A decision that was recorded, now or by an earlier request with the same key, and what is to be published."""

    approval: ApprovalRecord
    messages: Sequence[StepMessage] = ()
    is_replay: bool = False


@dataclass(frozen=True)
class Expiry:
    """An approval whose time was over: the step's message if it may run now, the task's end if that was its rule."""

    approval: ApprovalRecord
    messages: Sequence[StepMessage] = ()
    ended: Ended | None = None


def request(conn: Connection, task: LockedTask, rows: Iterable[StepMessage]) -> None:
    """Ask about those of the rows that have just begun to wait, and put off the task's deadline by the wait.

    The caller holds the task's lock. A step whose inputs can't be resolved asks nobody: its approval expires at once,
    and its step fails with that fault. So does one that the plan skips, and it is skipped.
    """
    waiting = [row.id for row in rows if row.state == StepState.WAITING]
    if not waiting:
        return
    outputs = _BoundOutputs(conn, task.tenant)
    for begin in range(0, len(waiting), _READ_AT_ONCE):
        for step in approvals.inputs_of(conn, waiting[begin : begin + _READ_AT_ONCE]):
            asked = approvals.ask(conn, _new_approval(outputs, step))
            if fault_of(asked) is None:
                _tell(conn, task, "approval.requested", asked)


def request_outcome(
    conn: Connection, task: LockedTask, step_id: str, *, terms: Gate, known: Mapping[str, Any]
) -> ApprovalRecord:
    """Ask what became of the effect of a step that has just begun to wait, and put off the task's deadline.

    `known` is added to the proposal. To accept, the person gives the output that the step would have had. The caller
    holds the task's lock.
    """
    (step,) = approvals.inputs_of(conn, [step_id])
    proposal, _ = _proposal(_BoundOutputs(conn, task.tenant), step)
    decided = approvals.last_of_step(conn, step_id)
    if decided is not None and decided.state == ApprovalState.EDITED:
        proposal = replace(proposal, inputs=decided.answer)
    # an arm may be gone since
    action = find_action(Offer(step.arm, proposal.action))
    asked = approvals.ask(
        conn,
        NewApproval(
            step_id=step_id,
            kind=ApprovalKind.OUTCOME,
            proposal={**proposal.to_record(), "effect": {**known, "inputs_sha256": proposal.sha256()}},
            proposal_hash=proposal.sha256(),
            answer_schema=None if action is None else action.output_schema,
            outcome=terms.to_record(),
        ),
    )
    _tell(conn, task, "approval.requested", asked)
    return asked


def withdraw_outcome(conn: Connection, task: LockedTask, step_id: str) -> list[Fact]:
    """Withdraw the question about the effect of a step whose success arrived late; return the event.

    The caller holds the task's lock.
    """
    withdrawn = approvals.withdraw_outcome(conn, step_id)
    if withdrawn:
        approvals.take_back(conn, task.id)
    return withdrawn_events(withdrawn)


def decide(
    engine: Engine, *, tenant: str, approval_id: str, decision: Decision, settings: Settings
) -> DecisionMade:
    """Record a person's decision on the tenant's approval; the step is queued in the same commit.

    The messages are to be published afterwards; a rejection and an answer need no arm, and the sweeper stores their
    outcome. A second call with the same key and content returns the first one's decision. Raises NotFound,
    InvalidInput, IdempotencyConflict, and AlreadyDecided when another decision came first, the time is over or the task
    has ended.
    """
    asked, task = _find(engine, tenant, approval_id)
    if asked.state != ApprovalState.PENDING:
        return _earlier(asked, decision)
    check_decision(asked, decision, attachments=task.contract.get("attachments") or ())

    def work(conn: Connection) -> DecisionMade | None:
        locked = tasks.lock_task(conn, asked.task_id)
        if locked is None or withdraw_left_over(conn, locked):
            return None
        made = approvals.decide(
            conn, tenant, approval_id, decision=decision, redispatch_seconds=settings.redispatch_seconds
        )
        if made is None:
            return None
        approvals.take_back(conn, locked.id)
        _tell(conn, locked, "approval.decided", made.approval)
        runs = made.released is not None and decision.verb in (Verb.APPROVE, Verb.EDIT, Verb.RUN_AGAIN)
        return DecisionMade(made.approval, [made.released] if runs and made.released else [])

    return in_transaction(engine, work) or _earlier(_find(engine, tenant, approval_id)[0], decision)


def require_pending(asked: ApprovalRecord) -> None:
    """Raise AlreadyDecided unless the approval is pending."""
    if asked.state != ApprovalState.PENDING:
        raise _refusal(asked)


def expire(engine: Engine, approval_id: str, *, task_id: str, settings: Settings) -> Expiry | None:
    """Apply the rule of an approval whose time is over; None when it was decided, is not due, or its task has ended."""

    def work(conn: Connection, task: LockedTask) -> Expiry | None:
        if withdraw_left_over(conn, task):
            return None
        made = approvals.expire(conn, approval_id, redispatch_seconds=settings.redispatch_seconds)
        if made is None:
            return None
        approvals.take_back(conn, task.id)
        if fault_of(made.approval) is None:
            _tell(conn, task, "approval.decided", made.approval)
        if made.approval.state == ApprovalState.APPROVED:
            return Expiry(made.approval, [made.released] if made.released else [])
        if made.approval.on_expiry == "fail" and fault_of(made.approval) is None:
            return Expiry(made.approval, ended=end_task(conn, task, _failed(made.approval)))
        return Expiry(made.approval)

    return with_locked_task(engine, task_id, work)


def warn(engine: Engine, approval_id: str, *, task_id: str) -> bool:
    """Write approval.expiring, once; False when it was written before, or the approval is not pending any more."""

    def work(conn: Connection) -> bool:
        task = tasks.lock_task(conn, task_id)
        if task is None or withdraw_left_over(conn, task):
            return False
        warned = approvals.warn(conn, approval_id)
        if warned is None:
            return False
        _tell(conn, task, "approval.expiring", warned)
        return True

    return in_transaction(engine, work)


def refusal_of(asked: ApprovalRecord) -> StepError:
    """Return why a step may not run whose approval is not one of MAY_RUN."""
    details = {"approval_id": asked.id, "decided_by": asked.decided_by, "comment": asked.comment}
    if asked.kind == ApprovalKind.OUTCOME:
        who = asked.decided_by or "Nobody"
        said = "rejected" if asked.decided_by else "decided in time"
        return OutcomeUnknown(
            f"It is not known whether step {asked.step} took effect. {who} {said}.", details=details
        )
    if asked.state == ApprovalState.EXPIRED:
        message = (
            f"Nobody decided on step {asked.step} until {asked.expires_at.isoformat(timespec='seconds')}."
        )
        return ApprovalExpired(message, details=details)
    if asked.state != ApprovalState.REJECTED:
        return ApprovalRejected(
            f"Step {asked.step} must be approved; {asked.id} is {asked.state}.", details=details
        )
    comment = f": {asked.comment}" if asked.comment else "."
    return ApprovalRejected(f"{asked.decided_by} rejected step {asked.step}{comment}", details=details)


def result_of(asked: ApprovalRecord) -> StepResult:
    """Return the result of a step that a decision settles without its arm: an answer, or why it did not run."""
    decided = {"id": asked.id, "state": asked.state, "by": asked.decided_by, "via": asked.via}
    provenance = {"arm": asked.proposal["arm"], "approval": decided}
    if asked.state in (ApprovalState.ANSWERED, ApprovalState.ACCEPTED):
        return StepResult(ResultStatus.DONE, output=asked.answer, provenance=provenance)
    fault = fault_of(asked)
    if fault is None:
        refusal = refusal_of(asked)
        fault = {"code": refusal.code, "message": refusal.message, "details": refusal.details}
    if fault["code"] == Skipped.code:
        return StepResult(ResultStatus.SKIPPED, output={"summary": fault["message"]}, provenance=provenance)
    error = {"retryable": False, "details": {}, **fault}
    return StepResult(ResultStatus.FAILED, error=error, provenance=provenance)


def fault_of(asked: ApprovalRecord) -> dict[str, Any] | None:
    """Return {code, message} of what kept the step's proposal from being made; None for one that was made."""
    fault: dict[str, Any] | None = asked.proposal.get("fault")
    return fault


def _find(engine: Engine, tenant: str, approval_id: str) -> tuple[ApprovalRecord, TaskRecord]:
    with tenant_statement(engine, tenant) as conn:
        asked = approvals.find(conn, tenant, approval_id)
        task = tasks.find_task(conn, tenant, asked.task_id) if asked is not None else None
    if asked is None or task is None:
        raise NotFound(f"There is no approval {approval_id}.")
    return asked, task


class _BoundOutputs:
    """Reads the outputs that steps refer to; those of the last step are kept, because items of a loop share them."""

    def __init__(self, conn: Connection, tenant: str) -> None:
        self._conn = conn
        self._tenant = tenant
        self._bound: Mapping[str, Any] = {}
        self._outputs: dict[str, Any] = {}

    def of(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Return the output of each result by the name of its step; raises OutputTooLarge."""
        if bound != self._bound:
            results = {name: StepResult.from_record(result) for name, result in bound.items()}
            self._outputs = output_offload.load_outputs(self._conn, self._tenant, results)
            self._bound = bound
        return self._outputs


def _new_approval(outputs: _BoundOutputs, step: StepInputs) -> NewApproval:
    proposal, fault = _proposal(outputs, step)
    schema = None
    # an arm may be gone since; its step then waits for it after the decision
    arm = ARMS.get(step.arm)
    is_question = arm is not None and arm.kind == "human"
    if is_question:
        schema = proposal.inputs.get("schema")
    return NewApproval(
        step_id=step.id,
        kind=ApprovalKind.QUESTION if is_question else ApprovalKind.APPROVAL,
        proposal={**proposal.to_record(), **({"fault": fault} if fault else {})},
        proposal_hash=proposal.sha256(),
        answer_schema=schema,
    )


def _proposal(outputs: _BoundOutputs, step: StepInputs) -> tuple[Proposal, dict[str, str] | None]:
    """Return what the step is about to do, without inputs if it has a fault: {code, message}."""
    try:
        proposal = Proposal(step.arm, step.spec["action"], _inputs(outputs, step))
        if len(record.encode(proposal.to_record()).encode()) > MAX_PROPOSAL_BYTES:
            raise StepError(
                f"the inputs of step {step.name} have more than {MAX_PROPOSAL_BYTES} bytes: nobody can approve them"
            )
    except StepError as error:
        return Proposal(step.arm, step.spec["action"], {}), {"code": error.code, "message": error.message}
    return proposal, None


def _inputs(bound_outputs: _BoundOutputs, step: StepInputs) -> dict[str, Any]:
    outputs = bound_outputs.of(step.bound or {})
    if reason := skip_reason(step.spec, step.bound or {}, lambda _: outputs):
        raise Skipped(reason)
    action = find_action(Offer(step.arm, step.spec["action"]))
    return bind(step.spec, outputs, action.input_schema if action else {}).inputs


def _earlier(asked: ApprovalRecord, decision: Decision) -> DecisionMade:
    """Return the decision that an earlier request with the same key made; raises AlreadyDecided for another one."""
    if asked.once_name is not None and asked.once_name == decision.once_name:
        if asked.once_sha256 == decision.once_sha256:
            return DecisionMade(asked, is_replay=True)
        raise IdempotencyConflict()
    raise _refusal(asked)


def _refusal(asked: ApprovalRecord) -> AlreadyDecided:
    kind: type[AlreadyDecided] = AlreadyDecided
    if asked.state in (ApprovalState.PENDING, ApprovalState.EXPIRED):
        kind = TooLate
        message = f"The time to decide on {asked.id} was over at {asked.expires_at.isoformat()}."
    elif asked.state == ApprovalState.WITHDRAWN:
        message = f"{asked.id} was withdrawn: its task has ended, or its step is done."
    else:
        who = f" by {asked.decided_by}" if asked.decided_by else ""
        at = f" at {asked.decided_at.isoformat()}" if asked.decided_at else ""
        message = f"{asked.id} is already {asked.state}{who}{at}."
    return kind(
        message,
        details={
            "state": asked.state,
            "decided_by": asked.decided_by,
            "decided_at": asked.decided_at.isoformat() if asked.decided_at else None,
            "via": asked.via,
        },
    )


def _failed(asked: ApprovalRecord) -> Ending:
    message = f"Nobody decided on step {asked.step} until {asked.expires_at.isoformat()}."
    error = task_error(ApprovalExpired.code, code=ApprovalExpired.code, message=message)
    return Ending(TaskStatus.FAILED, error=error)


def _tell(conn: Connection, task: LockedTask, kind: str, asked: ApprovalRecord) -> None:
    """Write an event about an approval, and send it to the task's callback_url; the caller holds the task's lock."""
    fact: dict[str, Any] = {
        "approval_id": asked.id,
        "step": asked.step,
        "step_id": asked.step_id,
        "round": asked.round,
        "kind": asked.kind,
        "by": asked.assignee,
        "expires_at": asked.expires_at.isoformat(),
    }
    if kind == "approval.decided":
        fact |= {
            "state": asked.state,
            "decided_by": asked.decided_by,
            "via": asked.via,
            "comment": asked.comment,
        }
    else:
        fact |= {
            "ask": asked.ask,
            "allow": asked.allow,
            "on_expiry": asked.on_expiry,
            "proposal_hash": asked.proposal_hash,
        }
    events.write(conn, task.id, [(kind, fact)], round_number=asked.round)
    if task.contract.get("callback_url"):
        webhooks.enqueue(conn, task.id)

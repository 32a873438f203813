"""Runs a step with a gate only as a person approved it."""

from dataclasses import replace
from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle.approvals import MAY_RUN, refusal_of
from orchestrator.memory import approvals
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.models.approval import ApprovalState, Proposal
from orchestrator.models.errors import ApprovalRejected, InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.planner.step_reader import input_faults
from workers.attempt.context import AttemptContext, Handler


def check_approval(attempt: AttemptContext, proceed: Handler) -> Any:
    """Check that what the step is about to do is what was shown and approved; use the inputs that a person edited.

    Comes after bind_inputs. Raises ApprovalRejected, ApprovalExpired, and InvalidStepInput for edited inputs that the
    action does not take.
    """
    if attempt.claim.spec.get("approval") is None:
        return proceed(attempt)
    with statement(attempt.process.engine) as conn:
        asked = approvals.last_of_step(conn, attempt.claim.id)
    if asked is None:
        raise ApprovalRejected(f"Step {attempt.claim.name} must be approved, and nobody was asked.")
    if asked.state not in MAY_RUN:
        raise refusal_of(asked)
    bound = attempt.assignment
    proposal = Proposal(bound.arm, bound.action, bound.inputs)
    if proposal.sha256() != asked.proposal_hash or not proposal.equals(asked.proposal):
        raise ApprovalRejected(
            f"Step {bound.name} would do something else than {asked.id} says: its arm, its action or its inputs "
            "differ from what was approved."
        )
    inputs = _edited(attempt, asked) if asked.state == ApprovalState.EDITED else bound.inputs
    result: StepResult = proceed(replace(attempt, bound=replace(bound, inputs=inputs)))
    decided = {"id": asked.id, "state": asked.state, "by": asked.decided_by, "via": asked.via}
    return replace(result, provenance={**result.provenance, "approval": decided})


def _edited(attempt: AttemptContext, asked: ApprovalRecord) -> dict[str, Any]:
    faults = input_faults(
        attempt.claim.arm,
        attempt.claim.spec["action"],
        asked.answer,
        attachments=[file.sha256 for file in attempt.assignment.attachments],
    )
    if faults:
        raise InvalidStepInput(
            f"The inputs that {asked.decided_by} wrote do not fit: {': '.join(faults[0])}."
        )
    edited: dict[str, Any] = asked.answer
    return edited

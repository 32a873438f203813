"""Makes assignments over real files, results and rounds for tests of arms and of the judge."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_plan
from orchestrator.rules.json_schema import faults
from workers.arms.base import Assignment, CancelToken, Library, load_arm
from workers.arms.judge import RoundView
from workers.sandbox.selection import NOT_TESTED, SandboxStatus


def attachment_of(content: bytes, filename: str) -> Attachment:
    """Return the attachment that the store would record for a file."""
    digest = hashlib.sha256(content).hexdigest()
    return Attachment(digest, filename, "application/octet-stream", len(content))


def assignment(
    arm: str,
    action: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, bytes] | None = None,
    context: dict[str, Any] | str | None = None,
    library: Library | None = None,
) -> Assignment:
    """Return an assignment of a task that attaches `files` (content by name).

    A search needs a `library`, which needs a database.
    """
    contents = {attachment_of(content, name): content for name, content in (files or {}).items()}
    return Assignment(
        task_id="task_0000000000000000",
        step_id="00000000-0000-0000-0000-000000000000",
        name="step",
        round=1,
        attempt=1,
        arm=arm,
        action=action,
        inputs=inputs or {},
        goal="a goal",
        constraints=[],
        context=context,
        attachments=tuple(contents),
        feedback=None,
        deadline=time.monotonic() + 60,
        cancelled=CancelToken(),
        open_artifact={item.sha256: content for item, content in contents.items()}.__getitem__,
        library=library,
        save_file=lambda _name, content, _media_type: hashlib.sha256(content).hexdigest(),
    )


def run(given: Assignment, *, sandbox: SandboxStatus = NOT_TESTED) -> StepResult:
    """Run the step; asserts that the output meets the contract of its action."""
    result = load_arm(given.arm, sandbox=sandbox).run(given)
    broken = faults(ARMS[given.arm].actions[given.action].output_schema, result.output)
    assert not broken, broken
    return result


def done(output: Any) -> StepResult:
    """Return the result of a successful step."""
    return StepResult(ResultStatus.DONE, output=output)


def failed(code: str, message: str) -> StepResult:
    """Return the result of a failed step."""
    error = {"code": code, "message": message, "retryable": False, "details": {}}
    return StepResult(ResultStatus.FAILED, error=error)


def view(
    steps: list[dict[str, Any]], results: Mapping[str, StepResult], *, contract: Contract | None = None
) -> RoundView:
    """Return a round in which the steps without a result were skipped."""
    plan: Plan = check_plan(steps, attachments=["a" * 64])
    ends = {ResultStatus.DONE: StepState.DONE, ResultStatus.FAILED: StepState.FAILED}
    states = {
        step.id: ends[results[step.id].status] if step.id in results else StepState.SKIPPED
        for step in plan.steps
    }
    return RoundView(contract or Contract(goal="a goal"), plan, results, states, 1)

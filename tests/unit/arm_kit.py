"""Makes what arms and the judge are given in tests: assignments over real files, results, rounds."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any, cast

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_plan
from orchestrator.rules.json_schema import faults
from workers.arms.base import Assignment, CancelToken, Library, load_arm
from workers.arms.judge import RoundView
from workers.sandbox.choice import NOT_TESTED, Standing


def attachment_of(content: bytes, filename: str) -> Attachment:
    """Describe a file as the store would."""
    digest = hashlib.sha256(content).hexdigest()
    return Attachment(digest, filename, "application/octet-stream", len(content))


def assignment(
    arm: str,
    action: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, bytes] | None = None,
    context: dict[str, Any] | str | None = None,
    seconds: float = 60.0,
    cancelled: CancelToken | None = None,
    library: Library | None = None,
) -> Assignment:
    """Make an assignment of a task whose attachments are `files` (content by name).

    Without a `library`, which needs a database, an arm can't search.
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
        deadline=time.monotonic() + seconds,
        cancelled=cancelled or CancelToken(),
        open_artifact={item.sha256: content for item, content in contents.items()}.__getitem__,
        library=cast("Library", library),
    )


def run(given: Assignment, *, standing: Standing = NOT_TESTED) -> StepResult:
    """Let the arm do it; the output must keep the contract of its action."""
    result = load_arm(given.arm, standing=standing).run(given)
    broken = faults(ARMS[given.arm].actions[given.action].output_schema, result.output)
    assert not broken, broken
    return result


def done(output: Any) -> StepResult:
    """Return a result of a step that is done."""
    return StepResult(ResultStatus.DONE, output=output)


def failed(code: str, message: str) -> StepResult:
    """Return a result of a step that failed."""
    error = {"code": code, "message": message, "retryable": False, "details": {}}
    return StepResult(ResultStatus.FAILED, error=error)


def view(
    steps: list[dict[str, Any]], results: Mapping[str, StepResult], *, contract: Contract | None = None
) -> RoundView:
    """Make a round in which steps without a result were skipped."""
    plan: Plan = check_plan(steps, attachments=["a" * 64])
    ends = {ResultStatus.DONE: StepState.DONE, ResultStatus.FAILED: StepState.FAILED}
    states = {
        step.id: ends[results[step.id].status] if step.id in results else StepState.SKIPPED
        for step in plan.steps
    }
    return RoundView(contract or Contract(goal="a goal"), plan, results, states, 1)

"""Reuses the result of the same step done before, and offers this attempt's result to later steps."""

import structlog

from orchestrator.cache import step_memo
from orchestrator.cache.exact import control_of
from orchestrator.cache.step_memo import StepCall, StepMemo
from orchestrator.chord.database import statement
from orchestrator.models.step_result import FILES, StepResult
from orchestrator.observability import metric
from workers.arms.sources import selected_attachments
from workers.attempt.context import AttemptContext, Handler

log = structlog.get_logger(__name__)


def reuse_step_memo(attempt: AttemptContext, proceed: Handler) -> StepResult:
    """Return the result of the same work done before, else the arm's own, which later steps may then reuse.

    Failed results are not offered, nor are those whose output became a file or names one: it may be deleted. Nor are
    those that prove nothing: the missing dependency, or the package index that was away, may be there by then.
    """
    call, control = _repeatable_call(attempt), control_of(attempt.contract)
    if call is not None and control.reads:
        known = _read(attempt, call)
        metric.cache_asked("miss" if known is None else "hit", "step")
        if known is not None:
            log.info("step.remembered", memo_of=known.provenance["memo_of"])
            return known
    result: StepResult = proceed(attempt)
    is_whole = result.artifact is None and FILES not in result.provenance
    proves = attempt.action.why_not_checked(result.output) is None
    if call is not None and control.stores and result.error is None and is_whole and proves:
        StepMemo(attempt.process.cache).put(call, attempt.claim.id)
    return result


def _repeatable_call(attempt: AttemptContext) -> StepCall | None:
    """Return what identifies the step's work; None where memos are off.

    They are off for tasks outside the cache (no_store, bypass, a retry, a client's plan without `cache`), for repairs,
    and for actions that are not declared repeatable.
    """
    claim, action = attempt.claim, attempt.action
    if claim.cache_key is None or claim.round > 1 or not step_memo.is_repeatable(action):
        return None
    if attempt.process.cache.ttl_seconds <= 0:
        return None
    assignment = attempt.assignment
    return StepCall(
        tenant=claim.tenant,
        arm=assignment.arm,
        action=assignment.action,
        inputs=assignment.inputs,
        attachments=selected_attachments(assignment) if action.attachments != "none" else (),
        context=assignment.context,
    )


def _read(attempt: AttemptContext, call: StepCall) -> StepResult | None:
    memos = StepMemo(attempt.process.cache)
    step_id = memos.find(call)
    if step_id is None:
        return None
    ages = [memos.max_age_seconds(call), control_of(attempt.contract).max_age_seconds]
    max_age = min(age for age in ages if age is not None)
    with statement(attempt.process.engine) as conn:
        return step_memo.read(conn, call, step_id, max_age=max_age)

"""Spares an attempt its work where the same step was done before, and lets later attempts profit from this one."""

from dataclasses import dataclass

import structlog

from orchestrator.bootstrap import WorkerProcess
from orchestrator.cache import step_memo
from orchestrator.cache.exact import control_of
from orchestrator.cache.step_memo import StepCall, StepMemo
from orchestrator.chord.database import statement
from orchestrator.memory.steps import Claim
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import CacheControl, Contract
from orchestrator.observability import metric
from workers.arms.base import Assignment
from workers.arms.sources import selected_attachments

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StepMemory:
    """What is known of one attempt's work; without `work` nothing is asked and nothing kept."""

    process: WorkerProcess
    claim: Claim
    control: CacheControl
    work: StepCall | None

    @classmethod
    def of(cls, process: WorkerProcess, claim: Claim, assignment: Assignment) -> "StepMemory":
        """Return the memory for an attempt.

        It is off for tasks that the cache does not know (no_store, bypass, a retry, a client's plan that does not
        speak of the cache), for repairs, and for actions that are not declared repeatable.
        """
        is_on = claim.cache_key is not None and claim.round == 1 and process.cache.ttl_seconds > 0
        work = _work_of(claim, assignment) if is_on else None
        control = control_of(Contract.from_record(claim.contract))
        return cls(process, claim, control, work if work and work.is_repeatable else None)

    def recall(self) -> StepResult | None:
        """Return the result of the same work done before, if there is one that is not too old."""
        if self.work is None or not self.control.reads:
            return None
        result = self._read(self.work)
        metric.cache_asked("miss" if result is None else "hit", "step")
        if result is not None:
            log.info("step.remembered", memo_of=result.provenance["memo_of"])
        return result

    def keep(self, result: StepResult) -> None:
        """Let later steps have this result, once it is recorded; not a failed one, nor one that became a file."""
        is_whole = result.error is None and result.artifact is None
        if self.work is not None and self.control.stores and is_whole:
            self._memos.put(self.work, self.claim.id)

    def _read(self, work: StepCall) -> StepResult | None:
        step_id = self._memos.find(work)
        if step_id is None:
            return None
        ages = [self._memos.max_age_seconds(work), self.control.max_age_seconds]
        with statement(self.process.engine) as conn:
            return step_memo.read(conn, work, step_id, max_age=min(age for age in ages if age is not None))

    @property
    def _memos(self) -> StepMemo:
        return StepMemo(self.process.cache)


def _work_of(claim: Claim, assignment: Assignment) -> StepCall:
    reads_files = assignment.action_contract.attachments != "none"
    return StepCall(
        tenant=claim.tenant,
        arm=assignment.arm,
        action=assignment.action,
        inputs=assignment.inputs,
        attachments=selected_attachments(assignment) if reads_files else (),
        context=assignment.context,
    )

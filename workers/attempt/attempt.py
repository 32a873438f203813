"""One attempt at a step: its inputs bound, its arm run, its failure turned into a result or into a retry."""

import math
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import structlog
from celery.exceptions import Ignore
from sqlalchemy import Connection

from orchestrator import executor
from orchestrator.auth import permit
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import in_transaction, is_away, outlast, statement
from orchestrator.lifecycle import metered_calls, output_offload
from orchestrator.memory import files, steps
from orchestrator.memory.steps import Claim
from orchestrator.models import record
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import MustWait, OutputTooLarge, StepError, Stopped, ToolTimeout
from orchestrator.models.execution_state import StepKind
from orchestrator.models.model_errors import ModelTimeout
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.observability import metric
from orchestrator.planner.references import resolve
from workers.arms.base import Assignment, CancelToken, Library, Model, load_arm
from workers.attempt.library import TenantLibrary
from workers.attempt.model import ClaimEmbedder, ClaimModel, OpenEmbedder, OpenModels
from workers.attempt.step_memo import StepMemory
from workers.sandbox.selection import SandboxStatus

log = structlog.get_logger(__name__)

_LONGEST_DELAY_SECONDS = 60.0
# what the planner and the judge may take: a model's answer, its corrections and a second thought
_PLAN_SECONDS = 180.0


def limit_seconds(claim: Claim) -> float:
    """Return how long this attempt may take: its own limit, and never past the task's deadline."""
    if claim.kind != StepKind.STEP:
        return min(_PLAN_SECONDS, claim.seconds_left)
    own = claim.spec.get("timeout_seconds") or ARMS[claim.arm].actions[claim.spec["action"]].timeout_seconds
    return min(float(own), claim.seconds_left)


def run(
    process: WorkerProcess,
    claim: Claim,
    token: CancelToken,
    *,
    deadline: float,
    standing: SandboxStatus,
    open_models: OpenModels | None = None,
    open_embedder: OpenEmbedder = lambda: None,
) -> StepResult:
    """Do the step and return its final result; its tools run in the sandbox that stands.

    Raises Ignore when the step is queued again for a later try, Stopped when the attempt has lost the right to
    record anything, and SQLAlchemyError when the database is away.
    """
    started = time.monotonic()
    try:
        result = _result(
            process,
            claim,
            token,
            deadline=deadline,
            standing=standing,
            open_models=open_models,
            open_embedder=open_embedder,
        )
    except MustWait as wait:
        put_off(process, claim, wait)
    seconds = time.monotonic() - started
    retry_later(process, claim, result, seconds=seconds)
    action = ARMS[claim.arm].actions[claim.spec["action"]]
    who = {
        "arm": claim.arm,
        "action": action.name,
        "version": ARMS[claim.arm].version,
        "isolation": str(standing.isolation) if action.tools else "not_needed",
    }
    return replace(result, provenance={**who, **result.provenance, "milliseconds": round(seconds * 1000)})


def put_off(process: WorkerProcess, claim: Claim, wait: MustWait) -> NoReturn:
    """Queue the row again for when there may be room, which counts as no failure; raises Ignore.

    An attempt that is no longer the current one, or whose task has ended, changes nothing.
    """
    if metered_calls.postpone(process.engine, claim, wait):
        process.hints.send(claim.task_id)
        log.info("step.postponed", reason=wait.code)
    else:
        log.info("attempt.superseded", error=wait.code)
    raise Ignore()


def retry_later(process: WorkerProcess, claim: Claim, result: StepResult, *, seconds: float) -> None:
    """Queue a failed row again and raise Ignore, if it may be tried again; `seconds` is how long this attempt took.

    An attempt that is no longer the current one, or whose task has ended, changes nothing.
    """
    if result.error is not None and may_retry(claim, result.error, seconds=seconds):
        error = result.error
        delay = backoff_seconds(
            claim.failures,
            retry_after=_retry_after(error),
            chance=random.random(),
            longest=claim.seconds_left - seconds,
        )
        is_queued = in_transaction(
            process.engine, lambda conn: executor.retry(conn, claim, error=error, delay_seconds=delay)
        )
        if not is_queued:
            log.info("attempt.superseded", error=error["code"])
            raise Ignore()
        process.hints.send(claim.task_id)
        metric.arm_invoked(claim.arm, "retried", seconds)
        log.info(
            "step.retrying", error=error["code"], failures=claim.failures + 1, delay_seconds=round(delay, 2)
        )
        raise Ignore()


def out_of_time(process: WorkerProcess, claim: Claim, token: CancelToken, stopped: Stopped) -> StepResult:
    """Return the failure of planning or judging that took all its time, if it is not queued again (Ignore).

    Raises `stopped` when the attempt was to stop for another reason, or when the task's own deadline has passed:
    that ends the task, and no plan or verdict is wanted any more.
    """
    limit = limit_seconds(claim)
    if token.is_revoked() or not token.is_late() or limit >= claim.seconds_left:
        raise stopped
    failed = _failed(ModelTimeout(f"The {claim.arm} did not end within {limit:g} s."))
    retry_later(process, claim, failed, seconds=limit)
    return failed


def may_retry(claim: Claim, error: Mapping[str, Any], *, seconds: float) -> bool:
    """Tell whether trying again can help, the budget has a retry left, and it may begin before the task's deadline.

    `seconds` is how long ago the row was claimed.
    """
    allowed = Contract.from_record(claim.contract).budget.max_retries
    left = claim.seconds_left - seconds
    return bool(error["retryable"]) and claim.failures < allowed and (_retry_after(error) or 0.0) < left


def backoff_seconds(
    failures: int, *, retry_after: float | None, chance: float, longest: float = _LONGEST_DELAY_SECONDS
) -> float:
    """Return the pause before the next try: doubling with full jitter, at least what the other side asked for.

    `chance` is in [0, 1); jitter alone is never above `longest`. Source: "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015.
    """
    jittered = chance * min(_LONGEST_DELAY_SECONDS, 2.0**failures, longest)
    return max(jittered, retry_after or 0.0, 0.05)


def failure(
    code: str, message: str, *, retryable: bool = False, details: Mapping[str, Any] | None = None
) -> StepResult:
    """Return the result of a step that failed."""
    error = {"code": code, "message": message, "retryable": retryable, "details": dict(details or {})}
    return StepResult(ResultStatus.FAILED, error=error)


def _result(
    process: WorkerProcess,
    claim: Claim,
    token: CancelToken,
    *,
    deadline: float,
    standing: SandboxStatus,
    open_models: OpenModels | None,
    open_embedder: OpenEmbedder,
) -> StepResult:
    try:
        grant = _grant(process, claim)
        deadline = min(deadline, time.monotonic() + grant.seconds)
        arm = load_arm(claim.arm, sandbox=standing)
        model = (
            ClaimModel(open_models, process.engine, claim, deadline, token.is_set) if open_models else None
        )
        library = TenantLibrary(
            process.engine, claim.tenant, _embedder(process, claim, token, open_embedder, deadline=deadline)
        )
        assignment = replace(
            _assignment(process, claim, token, deadline=deadline, model=model, library=library),
            tools=grant.tools,
        )
        memory = StepMemory.of(process, claim, assignment)
        if remembered := memory.recall():
            return remembered
        done = arm.run(assignment)
        token.raise_if_revoked()
        result = outlast(lambda: _stowed(process, claim, done), until=deadline)
        _check_size(process, result)
        memory.keep(result)
    except Stopped:
        if token.is_revoked() or not token.is_late():
            raise
        return _failed(ToolTimeout(f"Step {claim.name} did not end within {limit_seconds(claim):g} s."))
    except MustWait:
        raise
    except StepError as error:
        return _failed(error)
    except Exception as error:
        # a database that is away is nobody's failure: the lease is handed back and the step runs again
        if is_away(error):
            raise
        # an arm's defect must not take its worker, nor the task's other steps, down with it
        log.exception("step.crashed")
        return failure(
            "arm_crashed", f"The {claim.arm} arm failed in a way it does not know; its log says more."
        )
    return result


def _embedder(
    process: WorkerProcess,
    claim: Claim,
    token: CancelToken,
    open_embedder: OpenEmbedder,
    *,
    deadline: float,
) -> ClaimEmbedder | None:
    embedder = open_embedder() if ARMS[claim.arm].uses_embeddings else None
    return ClaimEmbedder(embedder, process.engine, claim, deadline, token.is_set) if embedder else None


def _grant(process: WorkerProcess, claim: Claim) -> permit.Grant:
    """Return what the step's permit lets it do; where no key is set, permits are not asked for."""
    key = process.settings.permit_public_key
    if key:
        return permit.check(key, vars(claim))
    return permit.Grant(math.inf, ARMS[claim.arm].actions[claim.spec["action"]].tools)


def _failed(error: StepError) -> StepResult:
    return failure(error.code, error.message, retryable=error.retryable, details=error.details)


def _assignment(
    process: WorkerProcess,
    claim: Claim,
    token: CancelToken,
    *,
    deadline: float,
    model: Model | None,
    library: Library,
) -> Assignment:
    contract = Contract.from_record(claim.contract)
    with statement(process.engine) as conn:
        results = steps.outputs(conn, list(claim.bindings.values()))
        bound = {name: results[row_id] for name, row_id in claim.bindings.items() if row_id in results}
        outputs = output_offload.whole_outputs(conn, claim.tenant, bound)
        attachments = described(conn, claim.tenant, contract)

    def open_artifact(sha256: str) -> bytes:
        with statement(process.engine) as conn:
            content = files.read(conn, claim.tenant, sha256)
        if content is None:
            raise StepError(
                f"The attached file {sha256} is no longer there; send it again and submit a new task."
            )
        return content

    return Assignment(
        task_id=claim.task_id,
        step_id=claim.id,
        name=claim.name,
        arm=claim.arm,
        round=claim.round,
        attempt=claim.attempt,
        action=claim.spec["action"],
        inputs=resolve(claim.spec["inputs"], outputs),
        goal=contract.goal,
        constraints=contract.constraints,
        context=contract.context,
        attachments=attachments,
        feedback=claim.spec.get("feedback"),
        deadline=deadline,
        cancelled=token,
        open_artifact=open_artifact,
        library=library,
        model=model,
    )


def described(conn: Connection, tenant: str, contract: Contract) -> tuple[Attachment, ...]:
    """Return what the contract attaches, in its order."""
    return tuple(
        Attachment(item.sha256, item.filename, item.media_type, item.size_bytes)
        for item in files.describe(conn, tenant, contract.attachments)
    )


def _stowed(process: WorkerProcess, claim: Claim, result: StepResult) -> StepResult:
    content = output_offload.large_output(result, name=claim.name, max_bytes=process.settings.max_file_bytes)
    if content is None:
        return result
    return in_transaction(
        process.engine,
        lambda conn: output_offload.stow(conn, claim.tenant, result, name=claim.name, content=content),
    )


def _check_size(process: WorkerProcess, result: StepResult) -> None:
    size = len(record.encode(result.to_record()).encode())
    most = process.settings.max_recorded_result_bytes
    if size > most:
        raise OutputTooLarge(f"The step's result is {size} bytes; a step may record {most}.")


def _retry_after(error: Mapping[str, Any]) -> float | None:
    seconds = (error.get("details") or {}).get("retry_after")
    return float(seconds) if isinstance(seconds, int | float) else None

"""Words what the engine did: the payloads of events and decisions, and the result that clients get."""

from typing import Any

from orchestrator.lifecycle.round_rows import RoundLayout
from orchestrator.memory.steps import Claim, FinishedStep, StepMessage, StepOutcome
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Decision, Verdict


def result_of(verdict: Verdict) -> dict[str, Any]:
    """Return the task's result, in the shape that clients get, of a judged round."""
    return {
        "output": verdict.output,
        "coverage": verdict.coverage,
        # the client libraries need a number: what nobody measured is no confidence
        "confidence": verdict.confidence or 0.0,
        "validation_passed": verdict.decision is Decision.PASSED,
        "data": verdict.output_value,
        "artifacts": [],
        "warnings": list(verdict.warnings),
        "partial": False,
    }


def verdict_event(claim: Claim, verdict: Verdict) -> dict[str, Any]:
    """Return what is told of a verdict."""
    return {
        "round": claim.round,
        "decision": verdict.decision.value,
        "coverage": verdict.coverage,
        "confidence": verdict.confidence,
        "faulty": sorted(verdict.faulty),
        "findings": [
            {"criterion": item.criterion, "met": item.met, "checked_by": item.checked_by.value, "step": item.step,
             "explanation": item.explanation, "reason": item.reason, "required": item.required}
            for item in verdict.findings
        ],
    }  # fmt: skip


def who(claim: Claim) -> dict[str, Any]:
    """Return the names of a claim that every event and decision about it carries."""
    return {
        "step": claim.name,
        "step_id": claim.id,
        "round": claim.round,
        "arm": claim.arm,
        "attempt": claim.attempt,
    }


def step_event(claim: Claim, finished: FinishedStep, result: StepResult) -> tuple[str, dict[str, Any]]:
    """Return what is told of a step's end."""
    fact = {**who(claim), "duration_ms": round(finished.seconds * 1000)}
    if result.error is not None:
        return "step.failed", {**fact, "error": result.error}
    return "step.completed", {**fact, "warnings": result.warnings}


def attempt_of(claim: Claim, finished: FinishedStep, result: StepResult) -> dict[str, Any]:
    """Return what the trace keeps of an attempt."""
    return {
        **who(claim),
        "outcome": result.status.value,
        "worker": finished.owner,
        "waited_ms": round(claim.waited_seconds * 1000),
        "duration_ms": round(finished.seconds * 1000),
        "usage": result.usage,
        "provenance": result.provenance,
        "error": result.error,
    }


def reused_event(layout: RoundLayout, row: StepOutcome) -> tuple[str, dict[str, Any]]:
    """Return what is told of a step whose result an earlier task made."""
    return "step.reused", {
        "step": row.name,
        "step_id": layout.row_id(row.name),
        "round": layout.number,
        "arm": row.arm,
        "from": {"task_id": row.task_id, "step_id": row.id},
    }


def queued_event(message: StepMessage) -> tuple[str, dict[str, Any]]:
    """Return what is told of a step that is published."""
    return "step.queued", {
        "step": message.name,
        "step_id": message.id,
        "round": message.round,
        "arm": message.arm,
    }

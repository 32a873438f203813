"""Builds the payloads of events and trace decisions, and the result that clients get."""

from collections.abc import Iterable
from typing import Any

from orchestrator.lifecycle.round_rows import RoundLayout
from orchestrator.memory.claims import Claim
from orchestrator.memory.events import Fact
from orchestrator.memory.steps import Fenced, FinishedStep, Reclaimed, StepMessage, StepOutcome
from orchestrator.models.execution_state import StepState
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.verdict import Decision, Verdict


def result_of(verdict: Verdict) -> dict[str, Any]:
    """Return the result of a judged round in the shape that clients get."""
    return {
        "output": verdict.output,
        "summary": verdict.summary,
        "answered_by": verdict.answered_by,
        "coverage": verdict.coverage,
        # the client libraries need a number: 0 where no confidence was measured
        "confidence": verdict.confidence or 0.0,
        "validation_passed": verdict.decision is Decision.PASSED,
        "data": verdict.output_value,
        "artifacts": list(verdict.artifacts),
        "warnings": list(verdict.warnings),
        "partial": False,
    }


def verdict_event(claim: Claim, verdict: Verdict) -> dict[str, Any]:
    """Return the payload of `judge.verdict`."""
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


def claim_ids(claim: Claim) -> dict[str, Any]:
    """Return the members that identify a claim in every event and decision about it."""
    return {
        "step": claim.name,
        "step_id": claim.id,
        "round": claim.round,
        "arm": claim.arm,
        "attempt": claim.attempt,
    }


def lost_attempt(row: Reclaimed, reason: str) -> dict[str, Any]:
    """Return what events and trace say of an attempt that its worker did not end: the row, and why it is over."""
    return {
        "step": row.name,
        "step_id": row.id,
        "round": row.round,
        "arm": row.arm,
        "attempt": row.attempt,
        "kills": row.kills,
        "worker": row.owner,
        "reason": reason,
    }


def started_events(rows: Iterable[FinishedStep | Fenced]) -> list[Fact]:
    """Return step.started for each attempt that has just ended and was not announced while it ran."""
    return [
        (
            "step.started",
            {
                "step": row.name,
                "step_id": row.id,
                "round": row.round,
                "kind": row.kind,
                "arm": row.arm,
                "attempt": row.attempt,
                "worker": row.owner,
            },
            row.started_at,
        )
        for row in rows
        if row.started_at is not None and not row.is_announced
    ]


def step_event(
    claim: Claim, result: StepResult, finished: FinishedStep | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the event of a step's end: completed, failed or skipped; its duration is known once it `finished`."""
    fact = {**claim_ids(claim), **({"duration_ms": round(finished.seconds * 1000)} if finished else {})}
    if result.error is not None:
        return "step.failed", {**fact, "error": result.error}
    if result.status is ResultStatus.SKIPPED:
        return "step.skipped", {**fact, "reason": result.output["summary"]}
    return "step.completed", {**fact, "warnings": result.warnings}


def attempt_decision(
    claim: Claim, result: StepResult, finished: FinishedStep | None = None
) -> dict[str, Any]:
    """Return the trace's record of an attempt; its worker and duration are known once it `finished`."""
    measured = {"worker": finished.owner, "duration_ms": round(finished.seconds * 1000)} if finished else {}
    return {
        **claim_ids(claim),
        **measured,
        "outcome": result.status.value,
        "waited_ms": round(claim.waited_seconds * 1000),
        "usage": result.usage,
        "provenance": result.provenance,
        "error": result.error,
    }


def reused_event(layout: RoundLayout, row: StepOutcome) -> tuple[str, dict[str, Any]]:
    """Return the event of a step whose result an earlier task made."""
    return "step.reused", {
        "step": row.name,
        "step_id": layout.row_id(row.name),
        "round": layout.number,
        "arm": row.arm,
        "from": {"task_id": row.task_id, "step_id": row.id},
    }


def queued_events(begun: Iterable[StepMessage]) -> list[Fact]:
    """Return step.queued for each of the steps that is published, and does not wait for a person."""
    return [
        ("step.queued", {"step": row.name, "step_id": row.id, "round": row.round, "arm": row.arm})
        for row in begun
        if row.state == StepState.QUEUED
    ]

"""The transitions that nearly every task makes, each as one statement.

Each function returns None, and has written nothing, for a transition that only its counterpart in executor.py or
conclusion.py makes, in a transaction. Each raises Refused as that does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

from orchestrator.cache.admission import Admission
from orchestrator.conclusion import completion
from orchestrator.executor import StepCompletion, planned_round
from orchestrator.lifecycle.ending import Ended, end_summary
from orchestrator.lifecycle.event_payloads import attempt_decision, step_event
from orchestrator.lifecycle.fencing import refusal
from orchestrator.lifecycle.retry import plan_reuse, source_of
from orchestrator.lifecycle.round_rows import judge_message, messages
from orchestrator.lifecycle.saved_round import SavedRound, round_to_save
from orchestrator.memory import transitions
from orchestrator.memory.claims import Claim
from orchestrator.memory.steps import StepMessage
from orchestrator.memory.transitions import Answer, FirstRound, JudgedEnd, NotMade, StepEnd
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.execution_state import StepState
from orchestrator.models.ids import chord_id, new_plan_id
from orchestrator.models.loop import part_of
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.settings import Settings


def adopt(
    conn: Connection,
    claim: Claim,
    plan: Plan,
    *,
    routes: Mapping[str, Mapping[str, Any]],
    encode_body: Callable[[StepMessage], bytes],
    settings: Settings,
) -> SavedRound | None:
    """Save a task's first round and open its chord, whose body is the encoded message of the judge.

    None for a retry and for another plan of a task, which may keep earlier results, for a plan with a step that a
    person must approve, that may have begun early or with a for_each, and for a task whose priority was raised.
    """
    if (
        claim.round
        or source_of(claim.spec) is not None
        or any(step.approval is not None or step.for_each is not None for step in plan.steps)
    ):
        return None
    priority = claim.contract["priority"]
    layout, recorded = planned_round(
        claim.task_id, plan, routes=routes, priority=priority, reuse=plan_reuse(plan, ())
    )
    new, facts = round_to_save(claim, plan, layout, recorded, plan_id=new_plan_id(), settings=settings)
    saved = SavedRound(new.chord_id, messages(new.rows), judge_message(layout))
    first = FirstRound(
        new, facts, recorded.decisions, priority, body=encode_body(saved.judge), size=len(saved.header)
    )
    not_made = transitions.adopt(conn, claim, first, redispatch_seconds=settings.redispatch_seconds)
    if not_made is not None:
        _refuse_unless_rare(claim, not_made)
        return None
    return saved


def complete(
    conn: Connection, claim: Claim, result: StepResult, *, settings: Settings
) -> StepCompletion | None:
    """Close a step and release what it frees, or the judge.

    None for an early step, one that found no budget left, a skipped one, and a part of a for_each that is not done.
    """
    if claim.chord_id is None:
        return None
    if result.error is not None and result.error["code"] == BudgetExceeded.code:
        return None
    if result.status is ResultStatus.SKIPPED or (
        result.error is not None and part_of(claim.spec) is not None
    ):
        return None
    end = StepEnd(
        StepState(result.status.value),
        result.to_record(),
        facts=[step_event(claim, result)],
        decision=attempt_decision(claim, result),
    )
    made = transitions.complete(
        conn,
        claim,
        end,
        max_parallel=settings.max_parallel_arms,
        redispatch_seconds=settings.redispatch_seconds,
    )
    if isinstance(made, NotMade):
        _refuse_unless_rare(claim, made)
        return None
    return StepCompletion(made.seconds, made.messages)


def conclude(
    conn: Connection, claim: Claim, verdict: Verdict, *, admission: Admission | None
) -> Ended | None:
    """Save a verdict and complete the task; None for a rejected result, and for a task with more left to end."""
    if verdict.decision is Decision.FAILED:
        return None
    ending = completion(claim, verdict, admission)
    summary = end_summary(ending)
    end = JudgedEnd(
        chord_id(claim.task_id, round_number=claim.round),
        verdict,
        ending.result or {},
        facts=[*ending.facts, (f"task.{ending.status.value}", summary)],
        decisions={**ending.decisions, "end": summary},
        fresh_seconds=ending.admission.fresh_seconds,
    )
    made = transitions.finish(conn, claim, end)
    if isinstance(made, NotMade):
        _refuse_unless_rare(claim, made)
        return None
    return Ended(
        claim.task_id,
        ending.status,
        made.priority,
        made.age_seconds,
        created_at=claim.created_at,
        trace_context=claim.trace_context,
        error_code=None,
        stopped=(),
    )


def _refuse_unless_rare(claim: Claim, not_made: NotMade) -> None:
    if not_made.answer is not Answer.RARE:
        raise refusal(claim, not_made.answer, current_round=not_made.current_round)

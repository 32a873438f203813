"""Plans a task again: tells a model what was done and what was wrong, within the rights of the first plan."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord.database import statement
from orchestrator.lifecycle import output_offload
from orchestrator.lifecycle.fork import forked_plan
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.lifecycle.replan import ReplanOrder
from orchestrator.llm.prompt import Part, Untrusted, trusted
from orchestrator.memory import rounds, steps
from orchestrator.memory.rounds import RoundRecord
from orchestrator.memory.steps import StepOutcome
from orchestrator.models.errors import Unplannable
from orchestrator.models.execution_state import StepState
from orchestrator.models.model_errors import ReplayMiss
from orchestrator.models.model_work import Work
from orchestrator.models.plan import Plan, PlanStep
from orchestrator.models.task_contract import Budget
from orchestrator.models.verdict import Verdict
from orchestrator.planner.by_model import Ask, PlanAgain, plan_by_model
from workers.arms.excerpts import shortened, size_of
from workers.arms.judge_llm import outputs_within, text_of
from workers.attempt.context import AttemptContext
from workers.attempt.model import AttemptModel, model_of

MAX_OUTPUT_BYTES = 24_000
"""How much of all outputs together the planner is told."""
_MAX_PLAN_BYTES = 16_000
_MAX_VERDICT_BYTES = 6_000


def plan_again(attempt: AttemptContext, order: ReplanOrder, asker: Callable[[AttemptModel], Ask]) -> Plan:
    """Return another plan for the claimed task, by a model that is told of the round that was rejected.

    Raises Unplannable when no model is configured, and what plan_by_model raises: there is no recipe instead.
    """
    model = model_of(attempt)
    if model is None:
        raise Unplannable("no model is configured here that could plan again")
    claim = attempt.claim
    with statement(attempt.process.engine) as conn:
        earlier = rounds.read(conn, claim.task_id, number=claim.round)
        names = {step.id for step in earlier.plan.steps}
        found = steps.results_of(conn, claim.task_id, round_number=claim.round)
        outcomes = [row for row in found if row.name in names]
        outputs = _outputs(conn, attempt, outcomes)
    told = [*_told(earlier, outcomes), *_shown(attempt, outputs, model.room(Work.PLAN))]
    again = PlanAgain(told, order.limits(earlier.plan, outcomes), _left(attempt))
    return plan_by_model(
        asker(model), attempt.contract, attempt.attachments, tenant=claim.tenant, again=again
    )


def plan_of_replay(attempt: AttemptContext) -> Plan | None:
    """Return the plan that the replayed task was given after this round; None to have a model plan again.

    Raises ReplayMiss if it was not planned again then, and the replay asks no model.
    """
    fork, claim = attempt.contract.fork, attempt.claim
    if fork is None or fork.replay_of is None:
        return None
    with statement(attempt.process.engine) as conn:
        history = {earlier.number: earlier for earlier in rounds.history(conn, fork.replay_of)}
    before, after = history.get(claim.round), history.get(claim.round + 1)
    if before is not None and after is not None and after.plan_id != before.plan_id:
        return forked_plan(
            after.plan, {}, contract=attempt.contract, tenant=claim.tenant, attachments=attempt.attachments
        )
    if fork.live_on_miss:
        return None
    raise ReplayMiss(f"{fork.replay_of} was not planned again after round {claim.round}.")


def _outputs(conn: Connection, attempt: AttemptContext, outcomes: Sequence[StepOutcome]) -> dict[str, Any]:
    results = {
        row.name: row.result for row in outcomes if row.state is StepState.DONE and row.result is not None
    }
    large = {name: result for name, result in results.items() if result.artifact is not None}
    loaded = output_offload.load_outputs(conn, attempt.claim.tenant, large)
    return {name: loaded.get(name, result.output) for name, result in results.items()}


def _left(attempt: AttemptContext) -> Budget:
    """Return what is left of the task's budget."""
    claim, budget = attempt.claim, attempt.contract.budget
    account = ClaimBudgetAccount(attempt.process.engine, claim)
    return replace(
        account.rest_of(budget),
        max_time_seconds=max(0, int(claim.seconds_left - attempt.elapsed_seconds())),
    )


def _told(earlier: RoundRecord, outcomes: Sequence[StepOutcome]) -> Iterator[Part]:
    by_name = {row.name: row for row in outcomes}
    lines = "\n".join(_line(step, by_name.get(step.id)) for step in earlier.plan.steps)
    yield trusted("The steps of the plan that was carried out, one a line:")
    yield Untrusted("steps", _within(lines, _MAX_PLAN_BYTES))
    if earlier.verdict is not None:
        yield trusted("What was wrong:")
        yield Untrusted("faults", _within(_faults(earlier.verdict), _MAX_VERDICT_BYTES))


def _line(step: PlanStep, row: StepOutcome | None) -> str:
    error = row.result.error if row is not None and row.result is not None else None
    told: Mapping[str, Any] = {
        "id": step.id,
        "action": str(row.offer if row is not None else step.preferred),
        "inputs": step.inputs,
        "depends_on": list(step.depends_on),
        "state": row.state.value if row is not None else "unknown",
        **({"error": {"code": error["code"], "message": error["message"]}} if error else {}),
    }
    return json.dumps(told, ensure_ascii=False)


def _faults(verdict: Verdict) -> str:
    unmet = [finding for finding in verdict.findings if finding.required and finding.met is False]
    lines = [f"not met: {finding.criterion} ({finding.explanation})" for finding in unmet]
    return "\n".join([*lines, *(f"step {name}: {text}" for name, text in verdict.faulty.items())])


def _shown(attempt: AttemptContext, outputs: Mapping[str, Any], room: int) -> Iterator[Part]:
    texts = {name: text_of(output) for name, output in outputs.items()}
    room = min(room, MAX_OUTPUT_BYTES)
    yield trusted("What the steps put out:")
    for name, text in outputs_within(texts, room, lambda _: [attempt.contract.goal]).items():
        yield Untrusted("step", name)
        yield Untrusted("output", text)
    yield trusted("Plan the task again.")


def _within(text: str, room: int) -> str:
    return text if size_of(text) <= room else shortened(text, room=room)

"""What another plan keeps of the work before: all that is done and unchanged, unless it may turn out better."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.lifecycle.replan import reuse_after_replan
from orchestrator.lifecycle.retry import RoundReuse
from orchestrator.memory.rounds import RoundRecord
from orchestrator.memory.steps import StepOutcome
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Offer, Plan, PlanStep
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.verdict import Decision, Verdict
from tests.ledger import registered

COLLECT = PlanStep("a", "retriever", "collect")
ANSWER = PlanStep("a", "retriever", "answer")
APPEND = PlanStep("a", "ledger", "append")
BEHIND = PlanStep("b", "retriever", "collect", depends_on=("a",))


def outcome(step: PlanStep, **more: Any) -> StepOutcome:
    known = StepOutcome(
        id=f"id-{step.id}", task_id="t", name=step.id, arm=step.arm, action=step.action, state=StepState.DONE,
        round=1, was_repaired=False, result=StepResult(ResultStatus.DONE, output={}),
    )  # fmt: skip
    return replace(known, **more)


def reuse(first: PlanStep, *, faulty: bool = True, acted: bool = False, **more: Any) -> RoundReuse:
    """Return what is kept of a plan of `first` and a step behind it, which is repeated as it was."""
    plan = Plan((first, BEHIND), mode="llm")
    verdict = Verdict(Decision.FAILED, 1.0, faulty={"a": "too short"} if faulty else {})
    routes = {step.id: step.preferred._asdict() for step in plan.steps}
    return reuse_after_replan(
        plan,
        RoundRecord(1, "plan_1", "chord", plan, verdict),
        [outcome(first, **more), outcome(BEHIND)],
        routes=routes,
        acted={Offer(first.arm, first.action)} if acted else set(),
    )


@pytest.mark.parametrize(
    ("step", "kept"),
    [(COLLECT, {"a", "b"}), (ANSWER, set()), (APPEND, {"a", "b"})],
    ids=lambda one: str(one)[:9],
)
def test_a_faulty_step_runs_again_only_if_that_may_help_and_harms_nobody(
    step: PlanStep, kept: set[str]
) -> None:
    with registered("ledger"):
        made = reuse(step)

    assert made.kept.keys() == kept
    assert made.feedback == ({} if kept else {"a": "too short"})


def test_a_step_that_is_not_at_fault_is_kept_whatever_it_does() -> None:
    assert reuse(ANSWER, faulty=False).kept.keys() == {"a", "b"}


@pytest.mark.parametrize("state", [StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED])
def test_a_step_that_is_not_done_runs_again_with_all_behind_it(state: StepState) -> None:
    assert reuse(COLLECT, state=state, result=None).reruns == {"a", "b"}


def test_a_step_that_its_when_skipped_is_asked_again_without_those_behind_it() -> None:
    assert reuse(COLLECT, faulty=False, state=StepState.SKIPPED).reruns == {"a"}


@pytest.mark.parametrize(("acted", "asks"), [(True, {"a"}), (False, set())])
def test_a_write_that_may_have_acted_asks_before_it_runs_again(acted: bool, asks: set[str]) -> None:
    with registered("ledger"):
        made = reuse(APPEND, acted=acted, state=StepState.FAILED)

    assert made.repeats == asks

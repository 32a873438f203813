"""Whether a rejected round is repaired when an arm of its steps is gone, or nothing could change."""

from dataclasses import replace

from orchestrator.lifecycle.repair import NoRepair, Repair, plan_repair
from orchestrator.memory.steps import StepOutcome
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan, PlanStep
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.verdict import Decision, Verdict

PLAN = Plan(
    (PlanStep("a", "executor", "wait", repair_inputs={"seconds": 1}), PlanStep("b", "weather", "forecast"))
)


def outcome(step: PlanStep) -> StepOutcome:
    return StepOutcome(
        id=step.id, task_id="t", name=step.id, arm=step.arm, action=step.action, state=StepState.DONE, round=1,
        was_repaired=False, result=None,
    )  # fmt: skip


def repair_of(plan: Plan) -> Repair | NoRepair:
    verdict = Verdict(Decision.FAILED, 1.0, faulty={"a": "too short"})
    return plan_repair(plan, verdict, [outcome(step) for step in plan.steps], repairs_done=0, max_repairs=2)


def test_an_arm_that_is_gone_does_not_keep_other_steps_from_being_repaired() -> None:
    assert repair_of(PLAN) == Repair(frozenset({"a"}), {"b": "b"})


def test_a_step_behind_whose_arm_is_gone_can_not_run_again() -> None:
    first, _ = PLAN.steps
    behind = Plan((first, PlanStep("b", "weather", "forecast", depends_on=("a",))))

    assert repair_of(behind) == NoRepair("these arms are gone since, or no longer do what they did: weather")


def test_a_step_without_a_model_is_not_run_again() -> None:
    step = PlanStep("a", "retriever", "answer")
    error = {"code": "no_model", "message": "none is configured"}
    failed = replace(
        outcome(step), state=StepState.FAILED, result=StepResult(ResultStatus.FAILED, error=error)
    )
    verdict = Verdict(Decision.FAILED, 1.0, faulty={"a": "failed with no_model"})

    repair = plan_repair(Plan((step,)), verdict, [failed], repairs_done=0, max_repairs=2)

    assert repair == NoRepair("running again would not change these steps: a")

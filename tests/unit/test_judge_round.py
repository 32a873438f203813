"""The judge says of a round what rules can show, and of the rest that nobody checked it."""

from typing import Any

import pytest

from orchestrator.execution_state import CheckedBy, Decision, StepResult, Verdict
from orchestrator.task_contract import Contract, Criterion
from tests.unit.arm_kit import done, failed, view
from workers.arms.judge import judge_round


def wait(name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": 1},
        "depends_on": [*after],
        **more,
    }


def asked(*criteria: Criterion, **more: Any) -> Contract:
    return Contract(goal="a goal", acceptance_criteria=criteria, **more)


DONE = {"a": done({"summary": "A is well", "count": 3}), "b": done({"summary": "B is well", "count": 4})}
STEPS = [wait("a"), wait("b", "a")]
GOOD = Criterion("a counts three", {"step": "a", "pointer": "/count", "equals": 3})
BAD = Criterion("a counts five", {"step": "a", "pointer": "/count", "equals": 5})
WORDS = Criterion("It reads well")


@pytest.mark.parametrize(
    ("criteria", "decision", "confidence"),
    [
        ([], Decision.PASSED, 1.0),
        ([GOOD], Decision.PASSED, 1.0),
        ([GOOD, WORDS], Decision.INCONCLUSIVE, 0.5),
        ([WORDS], Decision.INCONCLUSIVE, 0.0),
        ([GOOD, BAD], Decision.FAILED, 1.0),
        ([BAD, WORDS], Decision.FAILED, 0.5),
    ],
)
def test_one_failure_fails_and_what_nobody_checked_never_passes(
    criteria: list[Criterion], decision: Decision, confidence: float
) -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(*criteria)))

    assert (verdict.decision, verdict.confidence) == (decision, confidence)


def test_a_criterion_without_a_check_is_told_as_not_checked() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(WORDS)))

    finding = next(finding for finding in verdict.findings if finding.criterion == WORDS.text)
    assert (finding.met, finding.checked_by) == (None, CheckedBy.NOT_CHECKED)
    assert any("not checked: It reads well" in warning for warning in verdict.warnings)


def test_the_step_that_a_failed_check_names_is_at_fault_with_the_reason() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(BAD)))

    assert set(verdict.faulty) == {"a"}
    assert "a counts five" in verdict.faulty["a"]
    assert "does not equal 5" in verdict.faulty["a"]


def test_a_step_whose_own_criterion_fails_is_at_fault() -> None:
    picky = wait(
        "b", "a", acceptance_criteria=[{"text": "five", "check": {"pointer": "/count", "equals": 5}}]
    )

    verdict = judge_round(view([wait("a"), picky], DONE))

    assert verdict.decision is Decision.FAILED
    assert set(verdict.faulty) == {"b"}
    assert [finding.step for finding in verdict.findings if finding.met is False] == ["b"]


def test_a_failed_step_is_at_fault_and_its_dependents_are_only_skipped() -> None:
    verdict = judge_round(view(STEPS, {"a": failed("tool_failed", "the tool broke")}))

    assert verdict.decision is Decision.FAILED
    assert set(verdict.faulty) == {"a"}
    assert "tool_failed: the tool broke" in verdict.faulty["a"]
    assert "[b] not done: it is skipped" in verdict.output


def test_criteria_of_a_step_that_did_not_finish_are_told_as_not_checked() -> None:
    picky = wait("a", acceptance_criteria=["fine"])

    verdict = judge_round(view([picky], {"a": failed("x", "y")}))

    assert [(finding.criterion, finding.met) for finding in verdict.findings[1:]] == [("fine", None)]


def test_an_optional_step_may_fail_but_that_is_told() -> None:
    spare = wait("spare", optional=True, acceptance_criteria=["fine"])

    verdict = judge_round(view([wait("a"), spare], {"a": DONE["a"], "spare": failed("x", "y")}))

    assert verdict.decision is Decision.PASSED
    assert verdict.faulty == {}
    assert any("optional step spare did not finish" in warning for warning in verdict.warnings)


def test_the_result_is_what_the_last_steps_put_out_and_must_fit_the_schema() -> None:
    fits = {"required": ["b"], "properties": {"b": {"properties": {"count": {"const": 4}}}}}
    misfits = {"required": ["a"]}

    passed = judge_round(view(STEPS, DONE, contract=asked(output_schema=fits)))
    refused = judge_round(view(STEPS, DONE, contract=asked(output_schema=misfits)))

    assert passed.output_value == {"b": {"summary": "B is well", "count": 4}}
    assert passed.decision is Decision.PASSED
    assert refused.decision is Decision.FAILED
    assert set(refused.faulty) == {"b"}


def test_the_answer_is_composed_of_what_the_steps_say() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(GOOD)))

    assert verdict.output.splitlines() == ["Passed: 2 of 2 checks hold.", "[a] A is well", "[b] B is well"]


def test_warnings_of_steps_reach_the_verdict_with_their_names() -> None:
    warned = StepResult(DONE["a"].status, output={"summary": "x"}, warnings=["2 files not read"])

    assert "a: 2 files not read" in judge_round(view([wait("a")], {"a": warned})).warnings


def test_a_check_of_a_step_that_is_not_in_the_plan_fails() -> None:
    elsewhere = Criterion("elsewhere", {"step": "ghost", "pointer": "", "exists": True})

    verdict = judge_round(view(STEPS, DONE, contract=asked(elsewhere)))

    assert verdict.decision is Decision.FAILED
    assert "ghost has no output: it is not in the plan" in verdict.findings[1].explanation


def test_a_verdict_read_back_from_its_record_is_the_same() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(GOOD, BAD, WORDS)))

    assert Verdict.from_record(verdict.to_record()) == verdict

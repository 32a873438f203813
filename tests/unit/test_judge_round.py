"""The judge decides by rules what rules can decide, and marks the rest as not checked."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.lifecycle.event_payloads import result_of
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract, Criterion
from orchestrator.models.verdict import CheckedBy, Decision, Verdict
from orchestrator.rules.check_rule import validate_rule
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
    ("criteria", "decision", "coverage", "confidence"),
    [
        ([], Decision.PASSED, 1.0, None),
        ([GOOD], Decision.PASSED, 1.0, 1.0),
        ([GOOD, WORDS], Decision.INCONCLUSIVE, 0.5, None),
        ([WORDS], Decision.INCONCLUSIVE, 0.0, None),
        ([GOOD, BAD], Decision.FAILED, 1.0, 0.0),
        ([BAD, WORDS], Decision.FAILED, 0.5, 0.0),
    ],
)
def test_one_failed_criterion_fails_and_unchecked_criteria_never_pass(
    criteria: list[Criterion], decision: Decision, coverage: float, confidence: float | None
) -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(*criteria)))

    assert (verdict.decision, verdict.coverage, verdict.confidence) == (decision, coverage, confidence)


def test_a_rejected_result_has_no_confidence_however_much_was_checked() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(BAD)))

    assert (verdict.coverage, result_of(verdict)["coverage"]) == (1.0, 1.0)
    assert (verdict.confidence, result_of(verdict)["confidence"]) == (0.0, 0.0)


def test_an_unknown_confidence_is_reported_as_zero() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(WORDS)))

    assert (verdict.confidence, result_of(verdict)["confidence"]) == (None, 0.0)


VERIFY = {"id": "c", "arm": "judge", "action": "verify", "inputs": {"value": 3, "check": {"equals": 4}}}
APPLY = {"id": "c", "arm": "coder", "action": "apply", "inputs": {"patch": "p", "attachment": "a" * 64}}
SCRIPT = {"id": "c", "arm": "executor", "action": "script", "inputs": {"attachments": ["a" * 64]}}
TESTS = {"id": "c", "arm": "executor", "action": "tests", "inputs": {"attachment": "a" * 64}}
UNMET = {
    "a verification": (VERIFY, {"passed": False, "checked": 1}),
    "a patch": (APPLY, {"accepted": False}),
    "a script's exit status": (SCRIPT, {"exit_code": 3}),
    "a failing test": (TESTS, {"failed": 1, "errors": 0, "passed": 2}),
    "a broken test": (TESTS, {"failed": 0, "errors": 1, "passed": 2}),
    "no test": (TESTS, {"failed": 0, "errors": 0, "passed": 0}),
}


@pytest.mark.parametrize(("step", "output"), UNMET.values(), ids=UNMET)
def test_an_unmet_criterion_of_a_step_s_action_fails_the_task(
    step: dict[str, Any], output: dict[str, Any]
) -> None:
    verdict = judge_round(view([step], {"c": done({**output, "not_checked": None})}))

    assert verdict.decision is Decision.FAILED
    assert verdict.confidence == 0.0
    assert set(verdict.faulty) == {"c"}
    assert {finding.checked_by for finding in verdict.findings} == {CheckedBy.RULE}


@pytest.mark.parametrize(("step", "output"), UNMET.values(), ids=UNMET)
def test_a_step_that_is_not_required_is_reported_and_decides_nothing(
    step: dict[str, Any], output: dict[str, Any]
) -> None:
    verdict = judge_round(view([{**step, "required": False}], {"c": done({**output, "not_checked": None})}))

    assert verdict.decision is Decision.PASSED
    assert verdict.faulty == {}
    assert [finding.required for finding in verdict.findings if finding.met is False] == [False]
    assert any("not required" in warning for warning in verdict.warnings)


def test_a_criterion_that_the_plan_repeats_is_listed_once() -> None:
    clean = {"text": "It ends well", "check": {"pointer": "/exit_code", "equals": 0}}
    same = Criterion("It ends well", {"step": "c", "pointer": "/exit_code", "equals": 0})
    step = {**SCRIPT, "acceptance_criteria": [clean, clean]}

    verdict = judge_round(view([step], {"c": done({"exit_code": 0})}, contract=asked(same, same)))

    assert [finding.criterion for finding in verdict.findings[1:]] == ["It ends well"]


def test_every_action_whose_output_reports_success_has_its_own_criteria() -> None:
    success_members = {"passed", "accepted", "exit_code"}
    # the action `coverage` only measures; whether tests pass is decided by the action `tests`
    measuring = {"coverage"}

    for arm in ARMS.values():
        for action in arm.actions.values():
            if (
                success_members & set(action.output_schema.get("properties", ()))
                and action.name not in measuring
            ):
                assert action.met, action.name
            for criterion in action.met:
                assert validate_rule(criterion["check"]) == []
                assert criterion["check"]["pointer"][1:] in action.output_schema["required"]
            assert action.unchecked in (None, "/not_checked")
            assert (action.unchecked is None) == (
                "not_checked" not in action.output_schema.get("properties", ())
            )


def test_every_action_that_runs_code_under_test_declares_its_report_untrusted() -> None:
    for arm in ARMS.values():
        for action in arm.actions.values():
            assert action.report_trusted == (not {"pytest", "coverage"} & set(action.tools)), action.name


LACKING = {"reason": "dependency_missing", "message": "the tests need pandas, which is not installed here"}


@pytest.mark.parametrize(
    "criterion",
    [
        Criterion("No test fails", {"step": "c", "pointer": "/failed", "equals": 0}),
        Criterion("Some tests fail", {"step": "c", "pointer": "/failed", "at_least": 1}),
        Criterion("No test fails", {"pointer": "/c/failed", "equals": 0}),
        Criterion(
            "As many", {"step": "d", "pointer": "/passed", "same_as": {"step": "c", "pointer": "/failed"}}
        ),
    ],
)
def test_a_rule_over_an_output_without_evidence_is_not_checked(criterion: Criterion) -> None:
    output = {"failed": 0, "errors": 0, "passed": 0, "not_checked": LACKING}

    verdict = judge_round(
        view([TESTS, wait("d")], {"c": done(output), "d": done({"passed": 3})}, contract=asked(criterion))
    )

    finding = verdict.findings[1]
    assert (finding.met, finding.checked_by, finding.reason) == (
        None,
        CheckedBy.NOT_CHECKED,
        "dependency_missing",
    )
    assert "pandas" in finding.explanation
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.faulty == {}


def test_a_check_without_anything_to_check_is_not_checked_and_decides_nothing_where_allowed() -> None:
    nothing = {
        "passed": False,
        "failed": 0,
        "not_checked": {"reason": "nothing_to_check", "message": "nothing"},
    }
    places = {
        **VERIFY,
        "acceptance_criteria": [{"text": "Places are there", "check": {"pointer": "/failed", "equals": 0}}],
    }

    needed = judge_round(view([places], {"c": done(nothing)}))
    spare = judge_round(view([{**places, "required": False}], {"c": done(nothing)}))

    assert [finding.met for finding in needed.findings] == [True, None, None]
    assert (needed.decision, spare.decision) == (Decision.INCONCLUSIVE, Decision.PASSED)
    assert [finding.met for finding in spare.findings] == [True, None, None]
    assert spare.coverage == 1.0


def test_a_criterion_without_a_check_is_reported_as_not_checked() -> None:
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


def test_criteria_of_an_unfinished_step_are_reported_as_not_checked() -> None:
    picky = wait("a", acceptance_criteria=["fine"])

    verdict = judge_round(view([picky], {"a": failed("x", "y")}))

    assert [(finding.criterion, finding.met) for finding in verdict.findings[1:]] == [("fine", None)]


def test_an_optional_step_may_fail_but_is_reported() -> None:
    spare = wait("spare", optional=True, acceptance_criteria=["fine"])

    verdict = judge_round(view([wait("a"), spare], {"a": DONE["a"], "spare": failed("x", "y")}))

    assert verdict.decision is Decision.PASSED
    assert verdict.faulty == {}
    assert any("optional step spare did not finish" in warning for warning in verdict.warnings)


def test_the_result_is_the_output_of_the_last_steps_and_must_fit_the_schema() -> None:
    fits = {"required": ["b"], "properties": {"b": {"properties": {"count": {"const": 4}}}}}
    misfits = {"required": ["a"]}

    passed = judge_round(view(STEPS, DONE, contract=asked(output_schema=fits)))
    refused = judge_round(view(STEPS, DONE, contract=asked(output_schema=misfits)))

    assert passed.output_value == {"b": {"summary": "B is well", "count": 4}}
    assert passed.decision is Decision.PASSED
    assert refused.decision is Decision.FAILED
    assert set(refused.faulty) == {"b"}


def test_the_answer_is_composed_of_the_steps_summaries() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(GOOD)))

    assert verdict.output.splitlines() == ["Passed: 2 of 2 checks held.", "[a] A is well", "[b] B is well"]


def test_warnings_of_steps_reach_the_verdict_with_their_names() -> None:
    warned = StepResult(DONE["a"].status, output={"summary": "x"}, warnings=["2 files not read"])

    assert "a: 2 files not read" in judge_round(view([wait("a")], {"a": warned})).warnings


@pytest.mark.parametrize(
    "place", [{"step": "ghost", "pointer": ""}, {"pointer": "/ghost"}, {"pointer": "/a"}]
)
def test_a_check_of_a_step_that_is_not_in_the_plan_blames_no_step(place: dict[str, str]) -> None:
    elsewhere = Criterion("elsewhere", {**place, "exists": True})

    verdict = judge_round(view(STEPS, DONE, contract=asked(elsewhere)))

    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.findings[1].reason == "unknown_step"
    assert verdict.faulty == {}


def test_a_verdict_read_back_from_its_record_is_the_same() -> None:
    verdict = judge_round(view(STEPS, DONE, contract=asked(GOOD, BAD, WORDS)))

    assert Verdict.from_record(verdict.to_record()) == verdict


def test_the_result_of_a_fallback_recipe_says_first_that_no_model_planned_it() -> None:
    seen = view(STEPS, DONE)
    told = {"recipe": "scan-files", "model_failed": "model_unavailable"}

    verdict = judge_round(replace(seen, plan=replace(seen.plan, provenance=told)))

    said = "No model gave a plan (model_unavailable): this is the result of the recipe scan-files."
    assert (verdict.output.split("\n")[0], verdict.warnings[0]) == (said, said)

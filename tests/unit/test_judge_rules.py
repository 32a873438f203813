"""Each kind of rule has one criterion that is met and one that fails."""

from typing import Any

import pytest

from orchestrator.models.errors import VerificationFailed
from orchestrator.models.execution_state import StepState
from orchestrator.models.task_contract import Contract, Criterion
from orchestrator.models.verdict import CheckedBy, Decision
from tests.unit.arm_kit import assignment, done, failed, run, view
from workers.arms.judge import judge_round

STEPS = [
    {"id": "tests", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}},
    {"id": "report", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}, "depends_on": ["tests"]},
]
RESULTS = {
    "tests": done({"summary": "3 passed", "exit_code": 0, "passed": 3, "percent": 95.2, "names": ["a", "b"]}),
    "report": done({"summary": "all is well", "passed": 3, "notes": None}),
}
FILE = b"one\ntwo and a half\nthree\n"


def at(step: str, pointer: str, **operation: Any) -> dict[str, Any]:
    return {"step": step, "pointer": pointer, **operation}


KINDS = {
    "exit code": (at("tests", "/exit_code", equals=0), at("tests", "/exit_code", equals=1)),
    "lower bound": (at("tests", "/percent", at_least=95), at("tests", "/percent", at_least=96)),
    "upper bound": (at("tests", "/percent", at_most=96), at("tests", "/percent", at_most=95)),
    "difference": (at("tests", "/passed", not_equals=0), at("tests", "/passed", not_equals=3)),
    "regex": (at("tests", "/summary", matches=r"^\d+ passed$"), at("tests", "/summary", matches="failed")),
    "part": (at("tests", "/names", contains="b"), at("tests", "/names", contains="c")),
    "presence": (at("report", "/notes", exists=True), at("report", "/notes", exists=False)),
    "schema of a part": (
        at("tests", "/names", schema={"minItems": 2}),
        at("tests", "/names", schema={"minItems": 3}),
    ),
    "counts agree": (
        at("report", "/passed", same_as={"step": "tests", "pointer": "/passed"}),
        at("report", "/passed", same_as={"step": "tests", "pointer": "/exit_code"}),
    ),
    "output schema": (
        {"output_schema": {"required": ["report"]}},
        {"output_schema": {"required": ["audit"]}},
    ),
}


@pytest.mark.parametrize(("holds", "planted"), KINDS.values(), ids=KINDS)
def test_a_rule_decides_a_criterion_with_evidence(holds: dict[str, Any], planted: dict[str, Any]) -> None:
    good, bad = Criterion("it holds", holds), Criterion("it was planted", planted)

    verdict = judge_round(view(STEPS, RESULTS, contract=Contract(goal="g", acceptance_criteria=(good, bad))))
    findings = {finding.criterion: finding for finding in verdict.findings}

    assert verdict.decision is Decision.FAILED
    assert (findings["it holds"].met, findings["it was planted"].met) == (True, False)
    assert {finding.checked_by for finding in verdict.findings} == {CheckedBy.RULE}
    assert all(finding.evidence for finding in verdict.findings)
    assert "it was planted" in str(verdict.faulty)
    assert "it holds" not in str(verdict.faulty)


def test_all_steps_done_is_met_or_not() -> None:
    criterion = Criterion("all done", {"all_steps_done": True})
    contract = Contract(goal="g", acceptance_criteria=(criterion,))

    good = judge_round(view(STEPS, RESULTS, contract=contract))
    bad = judge_round(view(STEPS, {"tests": failed("tool_failed", "broken")}, contract=contract))

    assert (good.decision, bad.decision) == (Decision.PASSED, Decision.FAILED)
    assert bad.faulty == {"tests": "failed with tool_failed: broken"}


@pytest.mark.parametrize(
    ("holds", "planted"),
    [
        ({"file": "a.txt", "line": 2}, {"file": "a.txt", "line": 9}),
        (
            {"file": "a.txt", "line": 2, "quote": "and a half"},
            {"file": "a.txt", "line": 1, "quote": "and a half"},
        ),
    ],
    ids=["file and line", "quote"],
)
def test_a_citation_is_verified(holds: dict[str, Any], planted: dict[str, Any]) -> None:
    given = assignment("judge", "verify", {"citations": [holds, planted]}, files={"a.txt": FILE})

    output = run(given).output
    findings = output["findings"]

    assert output["citations"] == [holds]
    assert [finding["met"] for finding in findings] == [True, False]
    assert all(finding["evidence"] for finding in findings)


def test_a_verification_without_evidence_does_not_pass() -> None:
    nothing = assignment("judge", "verify", {"citations": []}, files={"a.txt": FILE})
    required = assignment("judge", "verify", {"citations": [[]], "required": True}, files={"a.txt": FILE})

    output = run(nothing).output

    assert (output["passed"], output["checked"], output["failed"]) == (False, 0, 0)
    assert output["not_checked"] == {"reason": "nothing_to_check", "message": "nothing was given to check"}
    with pytest.raises(VerificationFailed, match="nothing was given to check"):
        run(required)


@pytest.mark.parametrize(
    ("checks", "told"),
    [([3], "1 of 1 check held"), ([3, 4], "1 of 2 checks held"), ([4], "0 of 1 check held")],
)
def test_a_verification_reports_its_number_of_checks(checks: list[int], told: str) -> None:
    inputs = {"value": 3, "checks": [{"check": {"equals": number}} for number in checks]}

    assert run(assignment("judge", "verify", inputs)).output["summary"].partition(";")[0] == told


@pytest.mark.parametrize("criteria", [["It reads well"], ["It reads well", "It is kind"]])
def test_an_unchecked_criterion_never_passes(criteria: list[str]) -> None:
    contract = Contract(goal="g", acceptance_criteria=tuple(map(Criterion, criteria)))

    verdict = judge_round(view(STEPS, RESULTS, contract=contract))

    assert verdict.decision is Decision.INCONCLUSIVE
    assert (verdict.coverage, verdict.confidence) == (0, None)
    assert len(verdict.warnings) == len(criteria)


def test_a_skipped_step_meets_no_rule() -> None:
    shown = view(STEPS, {"tests": RESULTS["tests"]}, contract=Contract(goal="g"))

    assert shown.states["report"] is StepState.SKIPPED
    assert judge_round(shown).decision is Decision.FAILED

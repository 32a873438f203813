"""Members that a newer release wrote are ignored when a record is read."""

from typing import Any

import pytest

from orchestrator.lifecycle.retry import RetrySource, source_of
from orchestrator.models.plan import Plan, PlanStep
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Contract, Criterion
from orchestrator.models.verdict import CheckedBy, CriterionFinding, Decision, Verdict

VALUES = [
    Contract(goal="g", acceptance_criteria=(Criterion("it holds", {"at_least": 1}),)),
    Plan((PlanStep("a", "executor", "wait"),)),
    StepResult(ResultStatus.DONE, output={"a": 1}),
    Verdict(Decision.PASSED, 1.0, findings=(CriterionFinding("it holds", True, CheckedBy.RULE, explanation="yes"),)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_unknown_members_are_ignored(value: Any) -> None:
    kind = type(value)

    assert kind.from_record(value.to_record()) == value
    assert kind.from_record(_with_more(value.to_record())) == value


def test_the_confidence_of_a_release_0_1_verdict_is_its_coverage() -> None:
    record = Verdict(Decision.FAILED, 0.5, confidence=0.0).to_record()
    old = {name: value for name, value in record.items() if name != "coverage"} | {"confidence": 0.5}

    verdict = Verdict.from_record(old)

    assert (verdict.coverage, verdict.confidence) == (0.5, None)


def test_unknown_members_of_a_plan_rows_source_are_ignored() -> None:
    source = RetrySource("task_0000000000000000", 1, from_step=None)

    assert source_of(_with_more(source.to_spec())) == source


def _with_more(value: Any) -> Any:
    """Add a member to every object that one of our values was written as; what a client or an arm wrote stays."""
    if isinstance(value, dict):
        more = {} if value in ({}, {"a": 1}, {"at_least": 1}) else {"newer": [1]}
        return {name: _with_more(inner) for name, inner in value.items()} | more
    return [_with_more(inner) for inner in value] if isinstance(value, list | tuple) else value

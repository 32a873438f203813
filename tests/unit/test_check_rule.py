"""A machine check is met or not, with a reason; a missing value meets none."""

import time
from typing import Any

import pytest

from orchestrator.models.execution_state import StepState
from orchestrator.rules.check_rule import CheckContext, check, steps_named, validate_rule

OUTPUTS = {
    "tests": {
        "passed": 3,
        "failed": 0,
        "ratio": 1.0,
        "ok": True,
        "names": ["a", "b"],
        "log": "3 passed in 1 s",
    },
    "lint": {"count": 3},
}
GROUND = CheckContext(
    OUTPUTS, {"tests": StepState.DONE, "lint": StepState.DONE, "slow": StepState.FAILED}, result=OUTPUTS
)


def at(pointer: str, **operations: Any) -> dict[str, Any]:
    return {"step": "tests", "pointer": pointer, **operations}


@pytest.mark.parametrize(
    ("holds", "fails"),
    [
        (at("/failed", equals=0), at("/failed", equals=1)),
        (at("/ratio", equals=1), at("/ok", equals=1)),
        (at("/ok", equals=True), at("/passed", equals=True)),
        (at("/names", equals=["a", "b"]), at("/names", equals=["b", "a"])),
        (at("/passed", not_equals=0), at("/passed", not_equals=3)),
        (at("/passed", at_least=3), at("/passed", at_least=3.5)),
        (at("/passed", at_most=3), at("/passed", at_most=2)),
        (at("/passed", at_least=1, at_most=5), at("/passed", at_least=1, at_most=2)),
        (at("/ok", exists=True), at("/ok", at_least=0)),
        (at("/names", contains="a"), at("/names", contains="c")),
        (at("/log", contains="passed"), at("/log", contains="failed")),
        (at("", contains="log"), at("", contains="lag")),
        (at("/log", matches=r"^\d+ passed"), at("/log", matches=r"^\d+ failed")),
        (at("/nothing", exists=False), at("/log", exists=False)),
        (at("/names/1", equals="b"), at("/names/01", equals="b")),
        (at("", schema={"required": ["passed"]}), at("", schema={"required": ["skipped"]})),
        (
            at("/passed", same_as={"step": "lint", "pointer": "/count"}),
            at("/failed", same_as={"step": "lint"}),
        ),
        ({"pointer": "/lint/count", "equals": 3}, {"pointer": "/lint/count", "equals": 4}),
        ({"output_schema": {"required": ["lint"]}}, {"output_schema": {"required": ["audit"]}}),
    ],
)
def test_a_rule_is_met_or_not(holds: dict[str, Any], fails: dict[str, Any]) -> None:
    assert validate_rule(holds) == validate_rule(fails) == []

    assert check(holds, GROUND).met
    assert not check(fails, GROUND).met


@pytest.mark.parametrize("operation", [{"equals": None}, {"not_equals": 1}, {"at_most": 1}, {"same_as": {}}])
def test_a_missing_value_meets_no_rule(operation: dict[str, Any]) -> None:
    missing_value = check({"step": "tests", "pointer": "/nothing", **operation}, GROUND)
    missing_step = check({"step": "slow", "pointer": "", **operation}, GROUND)

    assert not missing_value.met
    assert not missing_step.met
    assert "slow has no output: it is failed" in missing_step.explanation


def test_a_rule_of_a_step_reads_that_step() -> None:
    assert check({"pointer": "/count", "equals": 3}, CheckContext(OUTPUTS, step="lint")).met


def test_all_steps_done_is_met_only_if_they_are() -> None:
    assert not check({"all_steps_done": True}, GROUND).met
    assert check({"all_steps_done": True}, CheckContext({}, {"a": StepState.DONE})).met
    assert not check({"all_steps_done": True}, CheckContext({})).met


def test_the_evidence_contains_the_checked_value() -> None:
    outcome = check(at("/failed", equals=1), GROUND)

    assert outcome.evidence == [{"place": "tests:/failed", "value": "0"}]
    assert outcome.explanation == "tests:/failed is 0: does not equal 1"


@pytest.mark.parametrize(
    "rule",
    [
        None,
        "passed",
        {},
        {"step": "a"},
        {"step": 1, "exists": True},
        {"pointer": "x", "exists": True},
        {"equals": 1, "colour": "red"},
        {"at_least": True},
        {"at_most": "3"},
        {"exists": 1},
        {"matches": r"(a)\1"},
        {"matches": "a" * 501},
        {"schema": {"type": "strange"}},
        {"schema": {"pattern": "(?=a)"}},
        {"schema": {"$ref": "https://example.com/schema.json"}},
        {"same_as": "lint"},
        {"same_as": {"pointer": "x"}},
        {"all_steps_done": False},
        {"all_steps_done": True, "equals": 1},
        {"output_schema": {}, "equals": 1},
    ],
)
def test_an_invalid_rule_gets_a_reason(rule: Any) -> None:
    assert validate_rule(rule)


@pytest.mark.parametrize(
    "rule",
    [
        {"pointer": "/text", "matches": "(a+)+(b+)+(a|aa)+$"},
        {"pointer": "", "schema": {"properties": {"text": {"pattern": "^(a|a?)+$"}}}},
    ],
)
def test_a_pattern_made_to_hang_does_not(rule: dict[str, Any]) -> None:
    started = time.perf_counter()

    outcome = check(rule, CheckContext({}, result={"text": "a" * 5_000 + "!"}))

    assert not outcome.met
    assert time.perf_counter() - started < 2


def test_a_schema_whose_references_double_at_each_level_ends() -> None:
    levels = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    schema = {"$defs": {**levels, "d40": {}}, "$ref": "#/$defs/d0"}

    assert validate_rule({"schema": schema}) == []
    outcome = check({"schema": schema}, CheckContext({}, result=1))

    assert not outcome.met
    assert "takes too much work" in outcome.explanation


def test_the_steps_that_a_rule_names_and_reads() -> None:
    assert steps_named({"step": "a", "same_as": {"step": "b"}}) == ("a", "b")
    assert steps_named({"pointer": "/x", "equals": 1}) == ()

"""The answer of a task: what the plan names, the text of the last step, a model's words, or the summary."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.errors import InvalidPlan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision
from orchestrator.planner.check import check_plan
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.unit.arm_kit import done, failed, view
from tests.unit.model_kit import scripted
from workers.arms.judge import judge_round
from workers.arms.judge_answer import MAX_CHARACTERS, rendered
from workers.arms.judge_rules import RoundView


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server with scripted answers."""
    with FakeLLM() as running:
        yield running


def step(name: str, action: str, **more: Any) -> dict[str, Any]:
    arm, _, action = action.partition(".")
    return {"id": name, "arm": arm, "action": action, **more}


SEARCH = step("find", "retriever.search", inputs={"query": "x"})
COLLECT = step("all", "retriever.collect", inputs={"values": {"n": {"$from": "find", "pointer": "/found"}}})
FOUND = done({"summary": "1 match", "found": 1, "matches": [{"file": "a.md", "line": 3, "quote": "x is y"}]})
COLLECTED = done({"summary": "1 value collected: n", "values": {"n": 1}})


def seen(
    steps: list[dict[str, Any]], results: Mapping[str, StepResult], *, mode: str = "client", **contract: Any
) -> RoundView:
    shown = view(steps, results, contract=Contract(goal="What is x?", **contract))
    return replace(shown, plan=replace(shown.plan, mode=mode))


def named(answer: Any, results: Mapping[str, StepResult], **contract: Any) -> RoundView:
    shown = seen([SEARCH, COLLECT], results, **contract)
    return replace(shown, plan=replace(shown.plan, result=answer))


def test_the_plan_names_the_answer_and_the_summary_says_what_was_done() -> None:
    verdict = judge_round(named({"$from": "find", "pointer": "/matches"}, {"find": FOUND, "all": COLLECTED}))

    assert (verdict.output, verdict.answered_by) == ("a.md:3: x is y", "plan")
    assert verdict.output_value == [{"file": "a.md", "line": 3, "quote": "x is y"}]
    assert verdict.summary.splitlines()[1:] == ["[find] 1 match", "[all] 1 value collected: n"]


def test_the_output_schema_is_about_the_answer_that_the_plan_names() -> None:
    answer = {"first": {"$from": "find", "pointer": "/matches/0/line"}}
    results = {"find": FOUND, "all": COLLECTED}

    fits = judge_round(named(answer, results, output_schema={"properties": {"first": {"const": 3}}}))
    misfits = judge_round(named(answer, results, output_schema={"required": ["second"]}))

    assert (fits.decision, fits.output_value) == (Decision.PASSED, {"first": 3})
    assert misfits.decision is Decision.FAILED


def test_an_answer_whose_step_did_not_finish_is_replaced_by_the_summary() -> None:
    verdict = judge_round(
        named({"$from": "find", "pointer": "/matches"}, {"find": failed("x", "y"), "all": COLLECTED})
    )

    assert verdict.output == verdict.summary
    assert verdict.answered_by == "summary"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"summary": "s", "values": {"n": 1, "names": ["a", "b"]}}, "n: 1\nnames:\n  - a\n  - b"),
        ({"summary": "s", "values": "plain"}, "plain"),
        ({"city": "Berlin", "celsius": 19}, "city: Berlin\ncelsius: 19"),
        ({"value": 19}, "19"),
    ],
)
def test_the_only_last_step_gives_its_values_though_a_step_verifies_it(output: Any, text: str) -> None:
    verify = step(
        "check",
        "judge.verify",
        inputs={"value": {"$from": "all"}, "checks": [{"check": {"pointer": "", "exists": True}}]},
    )
    results = {"find": FOUND, "all": done(output), "check": done({"summary": "1 of 1 check held"})}

    verdict = judge_round(seen([SEARCH, COLLECT, verify], results))

    assert (verdict.output, verdict.answered_by) == (text, "step")


def test_a_model_writes_the_answer_of_its_own_plan_that_names_none(fake: FakeLLM) -> None:
    fake.answer({"answer": "x is y [find].", "steps": ["find"]})
    phases: list[str] = []

    verdict = judge_round(
        seen([SEARCH], {"find": FOUND}, mode="llm"),
        scripted(fake),
        on_writing=lambda: phases.append("finishing"),
    )

    assert (verdict.output, verdict.answered_by, verdict.warnings) == ("x is y [find].", "model", ())
    assert phases == ["finishing"]
    assert "x is y" in str(fake.received[0].body)


def test_a_written_answer_that_names_no_step_is_called_unproved(fake: FakeLLM) -> None:
    fake.answer({"answer": "x is z.", "steps": ["elsewhere"]})

    verdict = judge_round(seen([SEARCH], {"find": FOUND}, mode="llm"), scripted(fake))

    assert "unproved" in verdict.warnings[0]


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.REFUSAL, Fault.BAD_JSON])
def test_without_a_model_s_words_the_answer_is_the_summary(fault: Fault, fake: FakeLLM) -> None:
    fake.fail(fault)

    verdict = judge_round(seen([SEARCH], {"find": FOUND}, mode="llm"), scripted(fake))

    assert (verdict.decision, verdict.answered_by) == (Decision.PASSED, "summary")
    assert verdict.output == verdict.summary


def test_no_model_is_asked_for_the_answer_of_a_client_s_plan(fake: FakeLLM) -> None:
    verdict = judge_round(seen([SEARCH], {"find": FOUND}), scripted(fake))

    assert (verdict.answered_by, fake.received) == ("summary", [])


def test_records_become_a_table_whose_cells_can_not_break_it() -> None:
    text = rendered([{"name": "a|b", "n": 1}, {"name": "c\nd", "n": None}])

    assert text.splitlines() == ["| name | n |", "| --- | --- |", "| a\\|b | 1 |", "| c d | null |"]


def test_a_long_answer_is_cut_and_says_so() -> None:
    long = done({"summary": "s", "found": 1, "matches": ["x" * (MAX_CHARACTERS + 5)]})

    verdict = judge_round(named({"$from": "find", "pointer": "/matches/0"}, {"find": long, "all": COLLECTED}))

    assert verdict.output.endswith("\n[5 more characters: see the steps' outputs]")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"$from": "gone"}, "there is no step 'gone'"),
        ({"a": [{"$from": "find", "pointer": "/nowhere"}]}, "has no '/nowhere'; there is /summary"),
        ({"$from": "find", "pointer": "matches"}, "must be a JSON pointer"),
        ("x" * 20_000, "has more than 16,384 characters"),
    ],
)
def test_a_plan_that_names_no_output_as_its_answer_is_refused(answer: Any, fault: str) -> None:
    with pytest.raises(InvalidPlan, match="the plan breaks a rule") as refused:
        check_plan({"steps": [SEARCH, COLLECT], "result": answer})

    assert any(fault in error["message"] for error in refused.value.details["errors"])

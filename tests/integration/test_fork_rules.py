"""A fork runs again exactly what its changes touch and what depends on that; the rest is reused by reference."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.chord.database import statement
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.retry_preview import RetryPreview, preview
from orchestrator.memory import events
from orchestrator.models.errors import InvalidInput, InvalidPlan
from orchestrator.models.fork import Fork
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Decision
from tests.integration.kit import Engineer, done, verdict, wait_step
from tests.ledger import append, registered

CHAIN = (wait_step("a"), wait_step("b", "a"), wait_step("c", "b"), wait_step("d", "a"))
REWRITE = {
    "id": "w",
    "arm": "writer",
    "action": "rewrite",
    "inputs": {"text": "a text", "instruction": "shorter"},
}


@pytest.mark.parametrize(
    ("inputs", "reasons"),
    [
        ({"b": {"seconds": 0.1}}, {"b": "inputs", "c": "depends_on"}),
        ({"b": {"seconds": 0.1}, "d": {"seconds": 0.2}}, {"b": "inputs", "c": "depends_on", "d": "inputs"}),
        ({"a": {"seconds": 0.1}}, {"a": "inputs", "b": "depends_on", "c": "depends_on", "d": "depends_on"}),
        # what a step has already is no change
        ({"b": {"seconds": 0}}, {}),
    ],
)
def test_changed_inputs_run_their_step_and_what_depends_on_it(
    engineer: Engineer, inputs: dict[str, Any], reasons: dict[str, str]
) -> None:
    source = passed(engineer, *CHAIN)

    seen = look(engineer, source, Fork(inputs=inputs))
    again = engineer.retry(source, fork=Fork(inputs=inputs))

    assert {step.name: step.reason for step in seen.runs} == reasons
    assert ran(engineer, again) == set(reasons)
    for name in "abcd":
        planned = {"seconds": 0, **inputs.get(name, {})}
        assert engineer.row(again, name)["spec"]["inputs"] == planned
        if name not in reasons:
            assert engineer.row(again, name)["reuses"] == engineer.row(source, name)["id"]


def test_other_criteria_run_the_judge_alone(engineer: Engineer) -> None:
    source = passed(engineer, *CHAIN)
    fork = Fork(criteria=[{"text": "it is short", "check": {"step": "c", "at_least": 1, "pointer": ""}}])

    seen = look(engineer, source, fork)
    again = engineer.retry(source, fork=fork)

    assert seen.runs == []
    assert ran(engineer, again) == set()
    claim = engineer.take(again, "$judge")
    assert [item["text"] for item in claim.contract["acceptance_criteria"]] == ["it is short"]
    assert isinstance(engineer.conclude(claim, verdict(Decision.PASSED)), Ended)


def test_another_model_runs_what_asked_a_model(engineer: Engineer) -> None:
    source = engineer.start(wait_step("a"), {**REWRITE, "depends_on": ["a"]}, wait_step("z", "w"))
    engineer.do(source, "a")
    engineer.store(engineer.take(source, "w"), by_model("openai", "gpt-x"))
    engineer.do(source, "z")
    engineer.judge(source, verdict(Decision.PASSED))

    other, same = (look(engineer, source, Fork(model=name)) for name in ("openai:gpt-y", "openai:gpt-x"))

    assert [(step.name, step.reason) for step in other.runs] == [("w", "model"), ("z", "depends_on")]
    assert same.runs == []
    assert ran(engineer, engineer.retry(source, fork=Fork(model="openai:gpt-y"))) == {"w", "z"}


def test_an_instruction_runs_its_step_once(engineer: Engineer) -> None:
    source = passed(engineer, wait_step("a"), {**REWRITE, "depends_on": ["a"]})
    fork = Fork(prompt={"w": "in verse"})

    seen = look(engineer, source, fork)
    again = engineer.retry(source, fork=fork)
    engineer.do(again, "w")
    engineer.judge(again, verdict(Decision.PASSED))

    assert [(step.name, step.reason) for step in seen.runs] == [("w", "prompt")]
    assert ran(engineer, again) == {"w"}
    assert look(engineer, again, fork).runs == []
    assert [step.name for step in look(engineer, again, Fork(prompt={"w": None})).runs] == ["w"]


def test_a_fork_says_where_it_departs_and_its_contract_what_was_set(engineer: Engineer) -> None:
    source = passed(engineer, *CHAIN)
    first, second = Fork(inputs={"b": {"seconds": 0.1}}), Fork(criteria=[{"text": "short", "check": None}])

    again = engineer.retry(source, fork=first)
    for name in "bc":
        engineer.do(again, name)
    engineer.judge(again, verdict(Decision.PASSED))
    third = engineer.retry(again, fork=second)

    assert decision(engineer, again) == {
        "of": source,
        "from_step": None,
        "round": 1,
        "touched": {"b": "inputs"},
        "set": {"inputs": {"b": {"seconds": 0.1}}},
    }
    assert engineer.task(again).contract["fork"] == first.to_record()
    assert engineer.task(third).contract["fork"] == {**first.to_record(), **second.to_record()}
    assert engineer.row(third, "b")["reuses"] == engineer.row(again, "b")["id"]


def test_a_plain_retry_of_a_fork_keeps_what_was_set(engineer: Engineer) -> None:
    source = passed(engineer, *CHAIN)
    fork = engineer.retry(source, fork=Fork(inputs={"b": {"seconds": 0.1}}))
    for name in "bc":
        engineer.do(fork, name)
    engineer.judge(fork, verdict(Decision.PASSED))

    again = engineer.retry(fork, from_step="b")

    assert engineer.row(again, "b")["spec"]["inputs"] == {"seconds": 0.1}
    assert ran(engineer, again) == {"b", "c"}


@pytest.mark.parametrize(
    ("fork", "field"),
    [
        (Fork(inputs={"x": {"seconds": 1}}), "set.inputs.x"),
        (Fork(inputs={"b": {"seconds": "soon"}}), "set.inputs.b.seconds"),
        (Fork(inputs={"b": {"seconds": {"$from": "nobody"}}}), "set.inputs.b"),
        (Fork(inputs={"b": {"seconds": None}}), "set.inputs.b"),
        (Fork(prompt={"x": "be brief"}), "set.prompt.x"),
        (Fork(prompt={"b": "be brief"}), "set.prompt.b"),
        (Fork(criteria=[{"text": "t", "check": {"step": "x", "at_least": 1}}]), "set.criteria.0.check"),
    ],
)
def test_what_can_not_run_is_refused_with_its_place(engineer: Engineer, fork: Fork, field: str) -> None:
    source = passed(engineer, *CHAIN)

    for run in (look, lambda engineer, source, fork: engineer.retry(source, fork=fork)):
        with pytest.raises(InvalidInput) as refused:
            run(engineer, source, fork)
        assert [item["field"] for item in refused.value.details["errors"]] == [field]
    assert engineer.ask("SELECT count(*) AS n FROM tasks") == [{"n": 1}]


def test_a_fork_is_checked_against_the_contract_like_a_new_plan(engineer: Engineer) -> None:
    source = passed(engineer, *CHAIN, effects="none")
    engineer.ask("UPDATE tasks SET contract = jsonb_set(contract, '{required_capabilities}', '[\"fly\"]')")

    with pytest.raises(InvalidPlan, match="no step of the plan offers fly"):
        look(engineer, source, Fork(inputs={"b": {"seconds": 0.1}}))


def test_a_write_that_took_effect_asks_before_a_fork_repeats_it(engineer: Engineer) -> None:
    with registered("ledger"):
        source = passed(engineer, append("a"))
        fork = Fork(inputs={"a": {"text": "another"}})

        [step] = look(engineer, source, fork).runs
        again = engineer.retry(source, fork=fork)

        assert step.asks
        assert engineer.row(again, "a")["state"] == "waiting"


def passed(engineer: Engineer, *plan: dict[str, Any], **contract: Any) -> str:
    """Carry out a client's plan; return the task's id."""
    source = engineer.start(*plan, **contract)
    for step in plan:
        engineer.do(source, step["id"])
    engineer.judge(source, verdict(Decision.PASSED))
    return source


def by_model(provider: str, model: str) -> StepResult:
    answered = {"provider": provider, "model": model, "prompt": "writer@1.0.0", "fake": False}
    return replace(done(), provenance={"models": [answered]})


def look(engineer: Engineer, task_id: str, fork: Fork) -> RetryPreview:
    with statement(engineer.engine) as conn:
        return preview(conn, engineer.task(task_id), fork=fork)


def ran(engineer: Engineer, task_id: str) -> set[str]:
    """Return the steps that a task does itself."""
    rows = engineer.ask(
        "SELECT name FROM steps WHERE task_id = %(id)s AND kind = 'step' AND reuses IS NULL", id=task_id
    )
    return {row["name"] for row in rows}


def decision(engineer: Engineer, task_id: str) -> dict[str, Any]:
    """Return what the trace says of a retry."""
    with statement(engineer.engine) as conn:
        return {entry.kind: entry.payload for entry in events.trace(conn, task_id)}["retry"]

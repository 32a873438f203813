"""A step begins early only if it is legal, waits for nothing, changes nothing and asks no model."""

import json
from typing import Any

import pytest

from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.early_step import read_early_step
from tests.plug_in_arms import action, declare, plug_in

FILE = Attachment("0" * 64, "code.zip", "application/zip", 10)
CONTRACT = Contract(goal="look", attachments=(FILE.sha256,))
WAIT = {"action": "executor.wait", "id": "a", "inputs": {"seconds": 0}, "depends_on": []}
SEARCH = {"action": "retriever.search", "id": "a", "inputs": {"query": "x"}}


def read(step: dict[str, Any] | str, *, contract: Contract = CONTRACT) -> Any:
    text = step if isinstance(step, str) else json.dumps(step)
    return read_early_step(text, contract, [FILE], tenant=None)


def test_a_step_is_read_as_in_a_whole_plan() -> None:
    step = read(
        {
            "action": "coder.metrics",
            "id": "measure",
            "description": "",
            "inputs": {"attachment": "code.zip"},
            "depends_on": [],
            "acceptance_criteria": [{"text": "it measures", "check": None}],
        }
    )

    assert (step.arm, step.action, step.inputs) == ("coder", "metrics", {"attachment": FILE.sha256})


@pytest.mark.parametrize("step", [WAIT, SEARCH, {**WAIT, "approval": None}])
def test_what_only_reads_may_begin(step: dict[str, Any]) -> None:
    assert read(step) is not None


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({**WAIT, "depends_on": ["b"]}, id="a dependency"),
        pytest.param({**WAIT, "inputs": {"seconds": {"$from": "b", "pointer": "/n"}}}, id="a reference"),
        pytest.param({**SEARCH, "inputs": {"query": {"$item": ""}}}, id="another kind of reference"),
        pytest.param({**WAIT, "approval": {"ask": "May it?"}}, id="a gate"),
        pytest.param({**WAIT, "for_each": [1]}, id="a loop"),
        pytest.param({**WAIT, "when": {"step": "b"}}, id="a condition"),
        pytest.param({**WAIT, "unknown": 1}, id="an unknown member"),
        pytest.param({**WAIT, "id": "A b"}, id="no id"),
        pytest.param({**WAIT, "inputs": {}}, id="a missing input"),
        pytest.param({**WAIT, "inputs": {"seconds": -1}}, id="a wrong input"),
        pytest.param({**WAIT, "action": "executor.erase"}, id="no such action"),
        pytest.param({**WAIT, "inputs": {"seconds": 0, "x": "\ud800"}}, id="half of a surrogate pair"),
        pytest.param({"action": "coder.explain", "id": "a", "inputs": {"question": "why?"}}, id="a model"),
        pytest.param({"action": "human.answer", "id": "a", "inputs": {"question": "why?"}}, id="a person"),
        pytest.param('{"id": "a"', id="no JSON"),
        pytest.param("[" * 100_000, id="too deep"),
        pytest.param(
            {**WAIT, "acceptance_criteria": [{"text": "t", "check": {"magic": 1}}]}, id="a wrong rule"
        ),
    ],
)
def test_anything_else_waits_for_the_plan(step: dict[str, Any] | str) -> None:
    assert read(step) is None


def test_a_step_with_effects_that_the_task_does_not_allow_waits_for_the_plan() -> None:
    contract = Contract(goal="look", attachments=(FILE.sha256,), effects="none")

    assert read(SEARCH, contract=contract) is None
    assert read(WAIT, contract=contract) is not None


def test_an_arm_that_writes_waits_for_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(
        monkeypatch,
        plug_in("reads", action("look")),
        plug_in("writes", action("send", effects="write")),
    )
    inputs = {"query": "x"}

    assert read({"action": "reads.look", "id": "a", "inputs": inputs}) is not None
    assert read({"action": "writes.send", "id": "a", "inputs": inputs}) is None


def test_a_function_arm_that_may_ask_models_waits_for_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, plug_in("asks", action("look"), asks_models=True))

    assert read({"action": "asks.look", "id": "a", "inputs": {"query": "x"}}) is None

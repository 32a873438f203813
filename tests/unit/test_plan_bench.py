"""The goals of the prompt bench: a right plan passes on the scripted server at the first try, a wrong one does not."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench.model_check import PlanAsker, PlanGoal, check, main, read_goals
from orchestrator.planner.catalogue import choose_actions
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.llm_kit import ModelCaller

GOALS = read_goals()
ALL = choose_actions("")
VERIFY: dict[str, Any] = {
    "action": "judge.verify",
    "id": "verify",
    "inputs": {"value": {"$from": "s0"}, "check": {"pointer": "/summary", "exists": True}},
}


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server with scripted answers."""
    with FakeLLM() as running:
        yield running


def ideal_plan(goal: PlanGoal) -> dict[str, Any]:
    """Return a plan of the goal's actions, one after the other, that ends with a check."""
    wanted = [*goal.must, *([] if set(goal.any_of) & set(goal.must) else goal.any_of[:1])]
    steps = [
        {
            "action": name,
            "id": f"s{at}",
            "inputs": ideal_inputs(name, goal),
            "depends_on": [f"s{at - 1}"] * (at > 0),
        }
        for at, name in enumerate(wanted)
        if name != "judge.verify"
    ]
    is_checked = bool(ALL[str(steps[-1]["action"])].met)
    return {"rationale": "so", "confidence": 0.9, "steps": steps if is_checked else [*steps, VERIFY]}


def ideal_inputs(name: str, goal: PlanGoal) -> dict[str, Any]:
    """Return inputs for an action, from the goal."""
    action = ALL[name]
    values: dict[str, Any] = {
        "seconds": 5,
        "values": {"first": {"$from": "s0"}},
        "attachments": list(goal.files),
    }
    inputs = {member: values.get(member, goal.goal) for member in action.input_schema["required"]}
    if action.attachments == "one" and len(goal.files) > 1:
        inputs["attachment"] = goal.files[0]
    return inputs


def asker(fake: FakeLLM) -> PlanAsker:
    caller = ModelCaller(fake)
    return PlanAsker(caller.models, time.monotonic() + 30, caller.attempts)


def test_there_are_forty_different_goals_whose_actions_exist() -> None:
    assert len({goal.goal for goal in GOALS}) == 40
    for goal in GOALS:
        assert goal.must or goal.any_of
        assert {*goal.must, *goal.any_of, *goal.never} <= set(ALL)


def test_the_ideal_plan_of_each_goal_is_right_at_the_first_try(
    fake: FakeLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = asker(fake)
    fake.answer(*map(ideal_plan, GOALS))

    outcomes = check(asked, GOALS, calls=100)

    assert outcomes == ["right"] * 40
    assert len(asked.calls) == 40
    assert "When is a late delivery refunded?" in capsys.readouterr().out


def test_a_plan_of_another_shape_is_reported(fake: FakeLLM) -> None:
    goal = PlanGoal("x", ["a.py"], must=["executor.tests", "coder.fix"], never=["executor.wait"], most=3)
    fix = {"action": "coder.fix", "id": "fix", "inputs": {"instruction": "fix it"}}
    tests = {"action": "executor.tests", "id": "tests", "depends_on": ["fix"]}
    wait = {"action": "executor.wait", "id": "wait", "inputs": {"seconds": 1}}
    for steps in ([fix, tests], [wait, fix]):
        fake.answer({"rationale": "so", "confidence": 0.9, "steps": steps})

    outcomes = [asker(fake).outcome(goal) for _ in range(2)]

    assert outcomes == [
        "does executor.tests only after coder.fix",
        "lacks executor.tests; has executor.wait",
    ]


def test_the_check_ends_within_its_calls_and_prints_what_failed(
    fake: FakeLLM, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", fake.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("LLM_CHAIN", "openai:fake-model")
    fake.answer(ideal_plan(GOALS[2]))
    fake.fail(Fault.UNAUTHORISED)

    status = main(["--calls", "2", "--first", "3"])

    printed = capsys.readouterr().out
    assert status == 0
    assert f"right: {GOALS[2].goal}" in printed
    assert "no plan: model_unauthorised" in printed
    assert "1 of 2 plans are right; 2 calls" in printed

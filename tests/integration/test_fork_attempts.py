"""What a fork tells a model, and which model it asks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.lifecycle.retry import retry
from orchestrator.models.caller import Caller
from orchestrator.models.errors import InvalidInput
from orchestrator.models.fork import Fork
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Decision
from tests.fake_llm.server import FakeLLM
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import TENANT, Engineer, verdict
from tests.integration.replan_kit import Replanner, planned
from tests.integration.test_fork_rules import REWRITE, look, ran
from tests.llm_kit import ModelCaller
from workers.attempt.context import AttemptContext

ANSWER = {"text": "short"}


@dataclass
class Writer:
    """Does steps that ask a model of the fake server."""

    engineer: Engineer
    fake: FakeLLM
    caller: ModelCaller = field(init=False)

    def __post_init__(self) -> None:
        self.caller = ModelCaller(self.fake, ["openai:fake-model", "openai:fake-other"], tokens=1_000)

    def do(self, task_id: str, name: str) -> StepResult:
        """Claim a step, run it, and store its result."""
        claim = self.engineer.take(task_id, name)
        attempt = AttemptContext.of(process_of(self.engineer), claim, open_models=lambda: self.caller.models)
        result = run_step(attempt)
        self.engineer.store(claim, result)
        return result


@pytest.fixture
def writer(engineer: Engineer) -> Iterator[Writer]:
    """A worker with two models."""
    with FakeLLM() as fake:
        yield Writer(engineer, fake)


def test_a_step_is_told_the_forks_wish_and_asks_the_forks_model(writer: Writer) -> None:
    engineer = writer.engineer
    source = engineer.start(REWRITE, {**REWRITE, "id": "v"})
    for name in "wv":
        assert writer.do(source, name).error is None
    engineer.judge(source, verdict(Decision.PASSED))
    told = len(writer.fake.received)

    again = engineer.retry(source, fork=Fork(prompt={"w": "Write it in verse"}, model="openai:fake-other"))
    results = {name: writer.do(again, name) for name in "wv"}

    first, second = writer.fake.received[told:]
    assert "Write it in verse" in first.text
    assert "Write it in verse" not in second.text
    assert [request.body["model"] for request in writer.fake.received] == ["fake-model"] * 2 + [
        "fake-other"
    ] * 2
    for result in results.values():
        assert [one["model"] for one in result.provenance["models"]] == ["fake-other"]


def test_a_planner_is_told_the_forks_wish_and_what_is_the_same_is_reused(replanner: Replanner) -> None:
    engineer = replanner.engineer
    source = replanner.start(planned("first"), planned("second", "first"))
    for name in ("first", "second"):
        engineer.do(source, name, output={"summary": "done", "seconds": 0})
    engineer.judge(source, verdict(Decision.PASSED))
    fork = Fork(prompt={"$plan": "End with a third step"})

    assert not look(engineer, source, fork).is_planned
    again = fork_of(engineer, source, fork)
    replanner.plan(again, planned("first"), planned("third", "first"))

    assert "End with a third step" in replanner.fake.received[-1].text
    assert ran(engineer, again) == {"third"}
    assert engineer.row(again, "first")["reuses"] == engineer.row(source, "first")["id"]


@pytest.mark.parametrize(
    ("fork", "from_step", "field"),
    [
        (Fork(prompt={"$plan": "x"}), "first", "from_step"),
        (Fork(prompt={"$plan": "x", "first": "y"}), None, "set.prompt.first"),
        (Fork(prompt={"$plan": "x"}, inputs={"first": {"seconds": 1}}), None, "set.inputs.first"),
    ],
)
def test_nothing_is_asked_of_steps_that_another_plan_may_not_have(
    replanner: Replanner, fork: Fork, from_step: str | None, field: str
) -> None:
    engineer = replanner.engineer
    source = replanner.start(planned("first"))
    engineer.do(source, "first", output={"summary": "done", "seconds": 0})
    engineer.judge(source, verdict(Decision.PASSED))

    with pytest.raises(InvalidInput) as refused:
        fork_of(engineer, source, fork, from_step=from_step)

    assert refused.value.details["errors"][0]["field"] == field


def test_no_planner_is_told_anything_about_a_clients_plan(engineer: Engineer) -> None:
    source = engineer.start(REWRITE)
    engineer.do(source, "w")
    engineer.judge(source, verdict(Decision.PASSED))

    with pytest.raises(InvalidInput, match="the plan is the client's own"):
        look(engineer, source, Fork(prompt={"$plan": "x"}))


def fork_of(engineer: Engineer, source: str, fork: Fork, **how: Any) -> str:
    """Fork a task, without planning it; return the new task's id."""
    return retry(
        engineer.engine,
        settings=engineer.settings,
        caller=Caller(TENANT),
        task_id=source,
        fork=fork,
        **how,
    ).task_id

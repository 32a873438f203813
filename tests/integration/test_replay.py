"""A replay gives a task's models' answers again: the same result at no cost, or a miss that says what differs."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.chord.database import statement
from orchestrator.lifecycle import cancel
from orchestrator.lifecycle.retry import retry
from orchestrator.lifecycle.retry_preview import preview
from orchestrator.memory import budget
from orchestrator.memory.budget import Spent
from orchestrator.memory.claims import Claim
from orchestrator.models.approval import Verb
from orchestrator.models.caller import Caller
from orchestrator.models.errors import InvalidInput
from orchestrator.models.fork import Fork
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Criterion
from orchestrator.models.verdict import CheckedBy, Decision
from tests.fake_llm.server import FakeLLM
from tests.integration.approval_kit import asked, decide
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step
from tests.integration.replan_kit import FAILED, Replanner, planned
from tests.integration.test_fork_rules import REWRITE, ran
from tests.integration.test_loops import each, find, run
from tests.ledger import append, registered
from tests.llm_kit import ModelCaller
from workers.attempt import judging, pipeline, planning
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.context import AttemptContext
from workers.attempt.execution import bind_inputs
from workers.attempt.judging import JudgedRound
from workers.attempt.planning import RoutedPlan


class Stack:
    """Plans, does and judges a task with a model of the fake server, or without any."""

    def __init__(self, engineer: Engineer, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.fake = fake
        self.caller = ModelCaller(fake, tokens=1_000)
        self.has_model = True
        self.process = process_of(engineer)

    def attempt(self, task_id: str, name: str) -> AttemptContext:
        """Claim a row; without a model its provider is gone."""
        claim = self.engineer.take(task_id, name)
        models = (lambda: self.caller.models) if self.has_model else None
        return AttemptContext.of(self.process, claim, open_models=models)

    def do(self, task_id: str, name: str) -> StepResult:
        """Run a step and store its result."""
        attempt = self.attempt(task_id, name)
        result = run_step(attempt)
        self.engineer.store(attempt.claim, result)
        return result

    def judge(self, task_id: str) -> Any:
        """Judge the round as its worker does, and conclude it; return the verdict, or the failed result."""
        attempt = self.attempt(task_id, "$judge")
        concerns = [concern for concern in pipeline.JUDGE if concern is not hold_lease]
        outcome = pipeline.wrap(judging.judge, concerns)(attempt)
        if isinstance(outcome, JudgedRound):
            self.engineer.conclude(attempt.claim, outcome.verdict)
            return outcome.verdict
        return outcome

    def replay(self, task_id: str, **how: Any) -> str:
        """Replay an ended task, and plan it as the planner does."""
        again = replay_of(self.engineer, task_id, **how)
        attempt = self.attempt(again, "$plan")
        planned = planning.plan_and_route(attempt)
        assert isinstance(planned, RoutedPlan)
        self.engineer.adopt(attempt.claim, planned.plan, planned.routes)
        return again


@pytest.fixture
def stack(engineer: Engineer) -> Iterator[Stack]:
    """A stack with a model."""
    with FakeLLM() as fake:
        yield Stack(engineer, fake)


def test_a_replay_gives_the_same_result_for_nothing_when_the_provider_is_gone(stack: Stack) -> None:
    engineer, source = stack.engineer, judged(stack)
    asked = len(stack.fake.received)
    before = outputs(engineer, source)
    stack.has_model = False

    again = stack.replay(source)
    result, found = stack.do(again, "w"), stack.judge(again)

    assert ran(engineer, again) == {"w"}
    assert outputs(engineer, again) == before
    assert engineer.task(again).status == "completed"
    assert engineer.task(again).result == engineer.task(source).result
    assert True in [finding.met for finding in found.findings if finding.checked_by is CheckedBy.LLM]
    assert len(stack.fake.received) == asked
    assert (engineer.task(again).tokens_used, engineer.task(again).cost_dollars) == (0, Decimal(0))
    with statement(engineer.engine) as conn:
        assert budget.entries(conn, again) == []
    assert result.usage["cost_dollars"] == "0"
    told = engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(id)s AND kind = 'model' ORDER BY id", id=again
    )
    replayed = [(row["payload"]["step"], row["payload"]["replayed"]) for row in told]
    assert replayed == [("w", True), ("$judge", True)]


def test_a_replay_of_a_replay_finds_the_first_answers(stack: Stack) -> None:
    source = judged(stack)
    first = stack.replay(source)
    stack.do(first, "w")
    stack.judge(first)
    stack.has_model = False

    second = stack.replay(first)

    assert stack.do(second, "w").error is None
    assert outputs(stack.engineer, second) == outputs(stack.engineer, source)


def test_a_replay_of_a_fork_finds_the_answers_of_what_it_reused(stack: Stack) -> None:
    source = judged(stack)
    fork = stack.engineer.retry(source, fork=Fork(criteria=[]))
    stack.judge(fork)
    stack.has_model = False

    again = stack.replay(fork)

    assert stack.do(again, "w").error is None


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("fork", [Fork(prompt={"w": "in verse"}), Fork(inputs={"w": {"text": "another"}})])
def test_a_changed_request_misses_and_says_what_differs(stack: Stack, fork: Fork, is_live: bool) -> None:
    source = judged(stack)
    asked = len(stack.fake.received)

    again = stack.replay(source, fork=fork, live_on_miss=is_live)
    result = stack.do(again, "w")

    assert len(stack.fake.received) == asked + is_live
    if is_live:
        assert result.error is None
        assert stack.engineer.task(again).tokens_used > 0
        return
    assert result.error is not None
    assert (result.error["code"], result.error["retryable"]) == ("replay_miss", False)
    assert result.error["message"].startswith("Request 1 of w (writer.")
    assert "its user message (number 2) differs" in result.error["message"]
    details = result.error["details"]
    assert (details["step"], details["message"]) == ("w", 2)
    assert details["request_sha256"] != details["recorded_sha256"]


def test_a_judge_without_an_answer_fails_the_task_and_passes_nothing_unchecked(stack: Stack) -> None:
    source = judged(stack)
    again = stack.replay(source, fork=Fork(criteria=[{"text": "it is long", "check": None}]))
    stack.do(again, "w")

    found = stack.judge(again)

    assert isinstance(found, StepResult)
    assert (found.error or {})["code"] == "replay_miss"


def test_a_repair_is_replayed(stack: Stack) -> None:
    engineer = stack.engineer
    source = engineer.start(REWRITE)
    stack.do(source, "w")
    engineer.judge(source, verdict(Decision.FAILED, w="it is long"))
    stack.fake.answer({"text": "shorter still"})
    stack.do(source, "w")
    engineer.judge(source, verdict(Decision.PASSED))
    stack.has_model = False

    again = stack.replay(source)
    stack.do(again, "w")
    engineer.judge(again, verdict(Decision.FAILED, w="it is long"))
    result = stack.do(again, "w")

    assert result.error is None
    assert [row["round"] for row in engineer.rows(again, "w")] == [1, 2]
    assert outputs(engineer, again) == outputs(engineer, source)


def test_a_miss_is_not_repaired(stack: Stack) -> None:
    engineer, source = stack.engineer, judged(stack)
    again = stack.replay(source, fork=Fork(prompt={"w": "in verse"}))
    stack.do(again, "w")

    engineer.judge(again, verdict(Decision.FAILED, w="failed with replay_miss"))

    assert engineer.task(again).status == "failed"
    assert len(engineer.rows(again, "w")) == 1


def test_a_planners_plans_are_those_of_the_first_time(replanner: Replanner) -> None:
    engineer = replanner.engineer
    source = replanner.start(planned("first"), planned("second", "first"))
    for name in ("first", "second"):
        engineer.do(source, name, output={"summary": "done", "seconds": 0})
    engineer.judge(source, FAILED_BY_PLAN)
    replanner.plan(source, planned("first"), planned("third", "first"))
    engineer.do(source, "third", output={"summary": "done", "seconds": 0})
    engineer.judge(source, verdict(Decision.PASSED))
    asked = len(replanner.fake.received)
    replanner.has_model = False

    again = replay_of(engineer, source)
    for name, steps in (("$plan", ("first", "second")), ("$plan", ("third",))):
        claim = engineer.take(again, name)
        replanner.adopt(claim, replanner._attempt(claim))
        for step in steps:
            engineer.do(again, step, output={"summary": "done", "seconds": 0})
        if "second" in steps:
            engineer.judge(again, FAILED_BY_PLAN)
    engineer.judge(again, verdict(Decision.PASSED))

    assert engineer.task(again).status == "completed"
    assert engineer.task(again).plans == 2
    assert len(replanner.fake.received) == asked


def test_a_write_is_given_again_and_never_done(stack: Stack) -> None:
    with registered("ledger"):
        engineer = stack.engineer
        source = engineer.start({**append("a"), "approval": {"ask": "May it?"}}, append("b"))
        decide(engineer, asked(engineer, source, "a"), Verb.APPROVE)
        for name in "ab":
            claim = engineer.take(source, name)
            provenance = {"arm": "ledger", "action": "append", "input_sha256": digest_of(stack, claim)}
            known = provenance if name == "a" else {}
            engineer.store(claim, replace(done(f"wrote {name}"), provenance=known))
        engineer.judge(source, verdict(Decision.PASSED))
        row = engineer.row(source, "a")["id"]

        again = stack.replay(source)
        [step, _] = look(engineer, source)
        first, second = stack.do(again, "a"), stack.do(again, "b")

        assert step.asks is False
        assert engineer.row(again, "a")["gate"] is None
        assert (first.output, first.provenance["replay_of"]) == ("wrote a", row)
        assert (second.error or {})["code"] == "replay_miss"
        assert "writes, which a replay does not do" in (second.error or {})["message"]


def test_a_dry_replay_costs_nothing_and_a_live_one_something_unknown(stack: Stack) -> None:
    source = judged(stack)

    [dry], [live] = look(stack.engineer, source), look(stack.engineer, source, live_on_miss=True)

    assert (dry.name, dry.reason, dry.spent) == ("w", "replay", Spent(0, Decimal(0)))
    assert live.spent == Spent(None, None)


def test_a_loop_is_replayed_item_by_item(stack: Stack) -> None:
    engineer = stack.engineer
    rewrite = {**REWRITE, "id": "fix", "inputs": {"text": {"$item": ""}, "instruction": "shorter"}}
    source = engineer.start(find([]), {**each(), **rewrite, "depends_on": ["find"]})
    values = {"summary": "found", "values": {"list": ["one", "two"]}}

    def carry_out(task_id: str) -> None:
        engineer.do(task_id, "find", output=values)
        work_on(stack, task_id, "fix[]")
        for index in range(2):
            stack.do(task_id, f"fix[{index}]")
        work_on(stack, task_id, "fix")
        engineer.judge(task_id, verdict(Decision.PASSED))

    carry_out(source)
    stack.has_model = False
    again = stack.replay(source)
    carry_out(again)

    assert outputs(engineer, again)["fix"] == outputs(engineer, source)["fix"]
    assert outputs(engineer, again)["fix"]["failed"] == 0


@pytest.mark.parametrize("how", ["off", "secret", "another tenant's"])
def test_an_answer_that_is_not_kept_or_not_the_tenants_is_a_miss(stack: Stack, how: str) -> None:
    source = judged(stack, is_kept=how != "off", is_secret=how == "secret")
    if how == "another tenant's":
        stack.engineer.ask("UPDATE tasks SET tenant = 'umbrella' WHERE id = %(id)s", id=source)

    again = stack.engineer.start(REWRITE)
    fork = f'{{"replay_of": "{source}"}}'
    stack.engineer.ask(
        "UPDATE tasks SET contract = contract || jsonb_build_object('fork', %(fork)s::jsonb) WHERE id = %(id)s",
        fork=fork,
        id=again,
    )

    assert (stack.do(again, "w").error or {})["code"] == "replay_miss"


def test_what_is_kept_leaves_with_its_task(stack: Stack) -> None:
    source = judged(stack)
    assert stack.engineer.ask("SELECT count(*) AS n FROM model_answers") == [{"n": 2}]

    stack.engineer.ask("DELETE FROM tasks WHERE id = %(id)s", id=source)

    assert stack.engineer.ask("SELECT count(*) AS n FROM model_answers") == [{"n": 0}]


def test_a_task_that_was_never_planned_and_a_step_to_begin_from_are_refused(stack: Stack) -> None:
    engineer, source = stack.engineer, judged(stack)
    waiting = engineer.submit(wait_step("a"))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=waiting)

    with pytest.raises(InvalidInput, match="never planned"):
        replay_of(engineer, waiting)
    with pytest.raises(InvalidInput, match="a replay runs all steps"):
        replay_of(engineer, source, from_step="w")


FAILED_BY_PLAN = FAILED


def judged(stack: Stack, *, is_kept: bool = True, is_secret: bool = False) -> str:
    """Carry out a task whose writer and whose judge ask a model; return its id."""
    kept = stack.process
    if not is_kept:
        stack.process = without_keeping(stack)
    source = stack.engineer.start(REWRITE, acceptance_criteria=(Criterion("it is short"),))
    secret = "AKIA" + "IOSFODNN7EXAMPLF"
    stack.fake.answer({"text": f"the key is {secret}" if is_secret else "a short text"})
    assert stack.do(source, "w").error is None
    stack.fake.answer(
        {
            "verdicts": [
                {
                    "number": 1,
                    "met": True,
                    "explanation": "it is",
                    "quotes": [{"step": "w", "quote": "short text"}],
                }
            ]
        }
    )
    stack.judge(source)
    stack.process = kept
    return source


def without_keeping(stack: Stack) -> Any:
    return replace(stack.process, settings=replace(stack.process.settings, keep_model_answers="off"))


def outputs(engineer: Engineer, task_id: str) -> dict[str, Any]:
    """Return the last output of each step."""
    rows = engineer.ask(
        "SELECT name, result -> 'output' AS output FROM steps WHERE task_id = %(id)s AND kind = 'step' ORDER BY round",
        id=task_id,
    )
    return {row["name"]: row["output"] for row in rows}


def look(engineer: Engineer, task_id: str, **how: Any) -> Any:
    with statement(engineer.engine) as conn:
        return preview(conn, engineer.task(task_id), fork=Fork(replay_of=task_id, **how)).runs


def replay_of(
    engineer: Engineer, task_id: str, *, fork: Fork | None = None, live_on_miss: bool = False, **how: Any
) -> str:
    """Replay a task, without planning it; return the new task's id."""
    return retry(
        engineer.engine,
        settings=engineer.settings,
        caller=Caller(TENANT),
        task_id=task_id,
        fork=replace(fork or Fork(), replay_of=task_id, live_on_miss=live_on_miss),
        **how,
    ).task_id


def work_on(stack: Stack, task_id: str, name: str) -> None:
    run(stack.engineer, task_id, name)


def digest_of(stack: Stack, claim: Claim) -> str:
    """Return the digest of what a step is asked to do."""
    found: list[str] = []

    def note(attempt: AttemptContext) -> StepResult:
        found.append(attempt.assignment.digest())
        return done()

    bind_inputs(AttemptContext.of(stack.process, claim), note)
    return found[0]

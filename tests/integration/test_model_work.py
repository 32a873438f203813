"""Model calls on real rows: charged to the budget, recorded in the trace, postponed or ended as required."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from celery.exceptions import Ignore
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import conclusion
from orchestrator.chord import chord
from orchestrator.chord.database import statement, transaction
from orchestrator.connections.redis_client import open_subscriber
from orchestrator.lifecycle import cancel, submission
from orchestrator.memory import budget
from orchestrator.memory.claims import Claim
from orchestrator.memory.hints import PROGRESS_CHANNEL
from orchestrator.models.caller import Caller
from orchestrator.models.errors import BudgetExceeded, InvalidPlan, MustWait
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.model_errors import ModelQuotaExhausted, ModelUnavailable
from orchestrator.models.model_limits import ModelLimits
from orchestrator.models.model_work import Work
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Budget, Contract
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.llm_kit import ModelCaller
from workers.attempt import pipeline, planning
from workers.attempt.concerns.failure import failure
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.concerns.retry import backoff_seconds
from workers.attempt.context import AttemptContext
from workers.attempt.model import AttemptModel, GoalMeaning
from workers.attempt.replay import AttemptAnswers

STEP = {
    "id": "wait",
    "description": "",
    "arm": "executor",
    "action": "wait",
    "inputs": {"seconds": 0},
    "depends_on": [],
    "acceptance_criteria": [{"text": "it waits", "check": {"pointer": "/seconds", "at_least": 0}}],
}
PLAN = {"rationale": "wait", "confidence": 1, "steps": [STEP]}
UNPLANNABLE = "Write me a poem"
SCAN = "Scan this text for secrets"


class Planner:
    """Plans submitted goals with a model of the fake server."""

    def __init__(self, engineer: Engineer, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.fake = fake
        self.caller = ModelCaller(fake, tokens=None)
        self.process = process_of(engineer)

    def submit(self, goal: str, **budget_of: Any) -> Claim:
        """Submit a goal with a context and claim its planning."""
        task_id = submission.submit(
            self.engineer.engine,
            settings=replace(self.engineer.settings, openai_api_key="k"),
            caller=Caller(TENANT),
            contract=Contract(goal=goal, context="a text", budget=Budget(**budget_of)),
        ).task_id
        return self.engineer.take(task_id, "$plan")

    def plan(self, claim: Claim) -> Plan:
        """Plan it."""
        attempt = AttemptContext.of(self.process, claim, open_models=lambda: self.caller.models)
        return planning.make_plan(attempt, GoalMeaning(attempt))

    def finish(self, claim: Claim, outcome: StepResult | MustWait) -> StepResult:
        """Let the planning end in this outcome, and return what would be stored. Raises Ignore when nothing would."""

        def work(_: AttemptContext) -> StepResult:
            if isinstance(outcome, MustWait):
                raise outcome
            return outcome

        concerns = [concern for concern in pipeline.PLAN if concern is not hold_lease]
        stored: StepResult = pipeline.wrap(work, concerns)(AttemptContext.of(self.process, claim))
        return stored


@pytest.fixture
def planner(engineer: Engineer) -> Iterator[Planner]:
    """A planner with a model."""
    with FakeLLM() as fake:
        yield Planner(engineer, fake)


def test_a_plan_is_charged_to_the_budget_and_recorded_in_the_trace(planner: Planner) -> None:
    planner.fake.answer(PLAN)
    claim = planner.submit(UNPLANNABLE)

    made = planner.plan(claim)

    with statement(planner.engineer.engine) as conn:
        entries = budget.entries(conn, claim.task_id)
    told = planner.engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(task)s AND kind = 'model' ORDER BY id",
        task=claim.task_id,
    )
    assert (made.mode, made.steps[0].action) == ("llm", "wait")
    assert len(entries) == 1
    assert entries[0].settled_at is not None
    assert 0 < (entries[0].spent_tokens or 0) <= entries[0].reserved_tokens < 100_000
    assert [(item["payload"]["purpose"], item["payload"]["fake"]) for item in told] == [
        ("planner@2.2.0", True)
    ]


def test_what_a_model_writes_is_sent_to_those_who_watch_and_stored_nowhere(planner: Planner) -> None:
    planner.caller = ModelCaller(planner.fake, streams=True)
    planner.fake.answer({"rationale": "no plan"}, PLAN)
    claim = planner.submit(UNPLANNABLE)

    with (
        open_subscriber(planner.engineer.settings.redis_url) as client,
        client.pubsub() as watching,
    ):
        watching.subscribe(PROGRESS_CHANNEL)
        assert watching.get_message(timeout=10)["type"] == "subscribe"
        planner.plan(claim)
        found = list(iter(lambda: watching.get_message(timeout=1.0), None))

    shown = [message["data"].decode().partition("\n") for message in found]
    ours = [json.loads(text) for task_id, _, text in shown if task_id == claim.task_id]
    assert {event["type"] for event in ours} == {"plan.progress"}
    # the text of the corrected answer replaces that of the first
    last = [event["data"] for event in ours if event["data"]["answer"] == 2]
    assert json.loads("".join(part["text"] for part in last)) == PLAN
    assert [part["offset"] for part in last] == [
        sum(len(earlier["text"]) for earlier in last[:number]) for number in range(len(last))
    ]
    assert (last[0]["step"], last[0]["purpose"]) == ("$plan", "planner@2.2.0")
    assert all(".progress" not in event.type for event in planner.engineer.events(claim.task_id))


def test_if_the_model_gives_no_plan_a_matching_recipe_is_used_and_recorded(planner: Planner) -> None:
    planner.fake.fail(Fault.INSUFFICIENT_QUOTA)

    made = planner.plan(planner.submit(SCAN))

    assert (made.mode, made.provenance["recipe"]) == ("rules", "scan-files")
    assert made.provenance["model_failed"] == "model_quota_exhausted"
    assert made.rationale.startswith("The models gave no plan (model_quota_exhausted")


def test_if_no_recipe_matches_either_the_models_error_is_reported(planner: Planner) -> None:
    planner.fake.fail(Fault.INSUFFICIENT_QUOTA)

    with pytest.raises(ModelQuotaExhausted):
        planner.plan(planner.submit(UNPLANNABLE))


@pytest.mark.parametrize(
    "goal",
    [
        "Write unit tests that check this text for secrets",
        "Scan this text for secrets and count the vowels",
        "Do not scan this text for secrets",
        "Which documents mention refunds?",
        'Scan this text for secrets and "the rest"',
    ],
)
def test_a_recipe_that_does_not_fit_the_goal_wholly_is_no_fallback(planner: Planner, goal: str) -> None:
    planner.fake.fail(Fault.INSUFFICIENT_QUOTA)

    with pytest.raises(ModelQuotaExhausted):
        planner.plan(planner.submit(goal))


def test_a_model_whose_plans_are_illegal_is_not_replaced_by_a_recipe_of_other_work(planner: Planner) -> None:
    planner.fake.answer(*[{**PLAN, "steps": [{**STEP, "action": "erase"}]}] * 3)

    with pytest.raises(InvalidPlan, match="still wrong after 2 corrections"):
        planner.plan(planner.submit("Write unit tests for this module and scan it for secrets"))


def test_a_retryable_model_error_is_retried_before_a_recipe_is_used(planner: Planner) -> None:
    planner.fake.fail(Fault.SERVER_ERROR, Fault.SERVER_ERROR)
    claim = planner.submit(SCAN)

    with pytest.raises(ModelUnavailable):
        planner.plan(claim)
    made = planner.plan(replace(claim, failures=3))

    assert made.provenance["model_failed"] == "model_unavailable"


def test_a_budget_too_small_for_a_plan_fails_before_any_call(planner: Planner) -> None:
    claim = planner.submit(SCAN, max_tokens=500)

    with pytest.raises(BudgetExceeded, match="max_tokens is 500") as refused:
        planner.plan(claim)
    failed = failure("budget_exceeded", "", details=refused.value.details).error or {}
    with transaction(planner.engineer.engine) as conn:
        conclusion.fail_task(conn, claim, error=failed, kind="planning_failed")

    error = planner.engineer.task(claim.task_id).error or {}
    assert planner.fake.received == []
    assert (error["type"], error["code"]) == ("budget_exceeded", "budget_exceeded")
    assert json.loads(error["details"])["budget"] == "max_tokens"


def test_an_unsure_plan_is_reconsidered_within_40000_tokens(planner: Planner) -> None:
    planner.fake.add(_spent(PLAN | {"confidence": 0.6}, 1_806), _spent(PLAN, 2_200))

    made = planner.plan(planner.submit(UNPLANNABLE, max_tokens=40_000))

    assert (made.provenance["first_confidence"], made.provenance["confidence"]) == (0.6, 1)


def test_a_plan_of_eight_steps_is_corrected_within_40000_tokens(planner: Planner) -> None:
    eight = [{**STEP, "id": f"wait-{number}"} for number in range(8)]
    wrong = [*eight[:7], {**eight[7], "action": "erase"}]
    planner.fake.add(_spent({**PLAN, "steps": wrong}, 1_809), _spent({**PLAN, "steps": eight}, 2_600))

    made = planner.plan(planner.submit(UNPLANNABLE, max_tokens=40_000))

    assert (len(made.steps), made.provenance["corrections"]) == (8, 1)


@pytest.mark.parametrize(
    ("second", "max_tokens", "code"),
    [
        (Scripted(), 36_000, "budget_exceeded"),
        (Scripted(fault=Fault.SERVER_ERROR), 50_000, "model_unavailable"),
        (Scripted(fault=Fault.RATE_LIMITED), 50_000, "model_rate_limited"),
    ],
)
def test_a_legal_plan_is_kept_when_there_is_no_second_thought(
    planner: Planner, second: Scripted, max_tokens: int, code: str
) -> None:
    planner.fake.add(_spent(PLAN | {"confidence": 0.6}, 1_806), second)

    made = planner.plan(planner.submit(UNPLANNABLE, max_tokens=max_tokens))

    assert made.provenance["not_reconsidered"] == code
    assert (made.provenance["confidence"], made.steps[0].action) == (0.6, "wait")


def test_a_budget_without_room_for_a_correction_names_the_plans_first_fault(planner: Planner) -> None:
    planner.fake.add(_spent({**PLAN, "steps": [{**STEP, "action": "erase"}]}, 1_809))

    with pytest.raises(BudgetExceeded, match="The model's plan had to be corrected") as refused:
        planner.plan(planner.submit(UNPLANNABLE, max_tokens=36_000))

    assert refused.value.details["earlier_error"]["code"] == "invalid_plan"
    assert refused.value.details["budget"] == "max_tokens"


def test_an_answer_that_the_budget_cuts_names_the_budget(planner: Planner) -> None:
    planner.fake.add(Scripted(json.dumps(PLAN), thinking_tokens=5_000))

    with pytest.raises(BudgetExceeded, match=r"too little room for its answer.*raise max_tokens"):
        planner.plan(planner.submit(UNPLANNABLE, max_tokens=33_500))

    assert len(planner.fake.received) == 1


def test_the_room_of_a_question_is_a_quarter_of_the_rest_of_the_budget_at_two_bytes_a_token(
    planner: Planner,
) -> None:
    planner.fake.add(_spent(PLAN, 4_000))
    planner.caller = ModelCaller(planner.fake, limits={"openai:fake-model": ModelLimits(200_000, 8_000)})
    claim = planner.submit(UNPLANNABLE, max_tokens=40_000)
    attempt = AttemptContext.of(planner.process, claim, open_models=lambda: planner.caller.models)
    model = AttemptModel(attempt, lambda: planner.caller.models, AttemptAnswers(attempt))

    fresh = model.room(Work.ANSWER)
    planner.plan(claim)

    assert (fresh, model.room(Work.ANSWER)) == (20_000, 18_000)


def test_a_waiting_row_is_queued_again_without_counting_a_failure(planner: Planner) -> None:
    claim = planner.submit(SCAN)

    with pytest.raises(Ignore):
        planner.finish(claim, MustWait(details={"retry_after": 7}))

    row = planner.engineer.row(claim.task_id, "$plan")
    assert (row["state"], row["failures"], row["kills"]) == ("queued", 0, 0)


@pytest.mark.parametrize(
    "outcome",
    [MustWait(), failure("model_unavailable", "away", retryable=True)],
    ids=["put off", "tried again"],
)
def test_a_superseded_attempt_does_not_queue_the_row_again(
    planner: Planner, outcome: StepResult | MustWait
) -> None:
    claim = planner.submit(SCAN)
    cancel.cancel(planner.engineer.engine, tenant=TENANT, task_id=claim.task_id)

    with structlog.testing.capture_logs() as logged, pytest.raises(Ignore):
        planner.finish(claim, outcome)

    assert [line["event"] for line in logged] == ["attempt.superseded"]
    assert planner.engineer.row(claim.task_id, "$plan")["state"] == "cancelled"


def test_a_temporary_model_error_retries_the_row_after_the_servers_pause(planner: Planner) -> None:
    claim = planner.submit(SCAN)
    failed = failure("model_rate_limited", "slow down", retryable=True, details={"retry_after": 30})

    with pytest.raises(Ignore):
        planner.finish(claim, failed)

    row = planner.engineer.row(claim.task_id, "$plan")
    assert (row["state"], row["failures"]) == ("queued", 1)
    assert (row["not_before"] - row["queued_at"]).total_seconds() > 25


def test_a_model_that_is_free_only_after_the_deadline_is_unavailable(planner: Planner) -> None:
    planner.fake.fail(Fault.RATE_LIMITED, retry_after="100")
    late = planner.submit(UNPLANNABLE, max_time_seconds=60)

    turned_away = planner.plan(planner.submit(SCAN, max_time_seconds=60))
    paused = planner.plan(planner.submit(SCAN + ", please", max_time_seconds=60))
    failed = failure("model_rate_limited", "", retryable=True, details={"retry_after": 100})
    planner.finish(late, failed)

    assert turned_away.provenance["model_failed"] == "model_rate_limited"
    assert paused.provenance["model_failed"] == "model_unavailable"
    assert planner.engineer.row(late.task_id, "$plan")["state"] == "running"
    with pytest.raises(ModelUnavailable, match=r"\(paused\).* The task's deadline comes before"):
        planner.plan(late)


@given(st.integers(0, 40), st.none() | st.floats(0, 500), st.floats(0, 0.999), st.floats(0, 100))
def test_a_retry_pause_has_jitter_respects_retry_after_and_ends_before_the_deadline(
    failures: int, asked: float | None, chance: float, left: float
) -> None:
    pause = backoff_seconds(failures, retry_after=asked, chance=chance, longest=left)

    least = max(asked or 0.0, 0.05)
    assert least <= pause <= max(least, min(60.0, 2.0**failures, left))


def test_a_step_without_budget_ends_the_task_and_keeps_finished_outputs(engineer: Engineer) -> None:
    task = engineer.start(wait_step("a"), wait_step("b", "a"), wait_step("c", "b"))
    engineer.do(task, "a", output={"summary": "a is done"})
    claim = engineer.take(task, "b")
    outcome = failure("budget_exceeded", "max_tokens is 10", details={"budget": "max_tokens"})

    with transaction(engineer.engine) as conn:
        assert claim.chord_id is not None
        chord.lock(conn, claim.chord_id)
        ended = conclusion.exhaust(conn, claim, outcome)

    record = engineer.task(task)
    assert ended.status is TaskStatus.FAILED
    assert (record.error or {})["code"] == "budget_exceeded"
    assert "max_tokens" in (record.error or {})["details"]
    assert ((record.result or {})["partial"], (record.result or {})["validation_passed"]) == (True, False)
    assert "a: a is done" in (record.result or {})["output"]
    assert engineer.states(task) == {
        "$plan": "done",
        "a": "done",
        "b": "failed",
        "c": "skipped",
        "$judge": "cancelled",
    }
    assert engineer.chord_of(task)["state"] == "closed"


def _spent(value: dict[str, Any], tokens: int) -> Scripted:
    return Scripted(json.dumps(value), input_tokens=tokens - 306, output_tokens=306)

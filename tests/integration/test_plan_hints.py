"""Before a model plans a task, it is told how the tenant's earlier tasks like it were planned and how they ended."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import submission
from orchestrator.llm.embedding import Embedder
from orchestrator.memory import planned_goals, retention
from orchestrator.memory.claims import Claim
from orchestrator.memory.planned_goals import EarlierPlan, Goal
from orchestrator.models.caller import Caller
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import CACHE_MODES, Budget, Contract
from orchestrator.models.verdict import CheckedBy, CriterionFinding, Decision, Verdict
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer, verdict
from tests.llm_kit import ModelCaller, embedder
from workers.attempt import planning
from workers.attempt.context import AttemptContext
from workers.attempt.model import GoalMeaning

GOAL = "Wait for the harvest of the red apples"
LIKE_IT = "Please wait for a harvest of red pears"
SECRET_TEXT = "the plan's own text"
STEP = {
    "id": "wait",
    "description": SECRET_TEXT,
    "arm": "executor",
    "action": "wait",
    "inputs": {"seconds": 0},
    "depends_on": [],
    "acceptance_criteria": [{"text": "it waits", "check": {"pointer": "/seconds", "at_least": 0}}],
}
PLAN = {"rationale": SECRET_TEXT, "confidence": 1, "steps": [STEP]}
PASSED = verdict(Decision.PASSED)
UNMET = CriterionFinding(
    "The apples are red", met=False, checked_by=CheckedBy.RULE, explanation="they are green"
)
REJECTED = Verdict(Decision.FAILED, 1.0, findings=(UNMET,), output="it is not so")


class Planner:
    """Plans goals with a model of the fake server, and ends their tasks."""

    def __init__(self, engineer: Engineer, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.fake = fake
        self.caller = ModelCaller(fake, tokens=None)
        self.process = process_of(engineer)
        self.embedder: Embedder | None = None

    def plan(self, goal: str, *, tenant: str = TENANT, **contract: Any) -> tuple[Claim, Plan]:
        """Submit a goal and plan it; return its plan row's claim and the plan."""
        task_id = submission.submit(
            self.engineer.engine,
            settings=replace(self.engineer.settings, openai_api_key="k"),
            caller=Caller(tenant),
            contract=Contract(goal=goal, **contract),
        ).task_id
        claim = self.engineer.take(task_id, "$plan")
        self.fake.answer(PLAN, match="Plan this task")
        attempt = AttemptContext.of(
            self.process,
            claim,
            open_models=lambda: self.caller.models,
            open_embedder=lambda: self.embedder,
        )
        return claim, planning.make_plan(attempt, GoalMeaning(attempt))

    def run(self, goal: str, *, verdict: Verdict = PASSED, **how: Any) -> str:
        """Plan a goal, run its step, and let the judge decide; return the task's id."""
        claim, plan = self.plan(goal, **how)
        self.engineer.adopt(claim, plan, {step.id: step.preferred._asdict() for step in plan.steps})
        self.engineer.do(claim.task_id, "wait")
        self.engineer.judge(claim.task_id, verdict)
        return claim.task_id

    def hints(self, goal: str = LIKE_IT, **how: Any) -> list[dict[str, Any]]:
        """Plan a goal; return the hints that the trace of its plan tells."""
        _, plan = self.plan(goal, **how)
        hints: list[dict[str, Any]] = plan.provenance.get("hints", [])
        return hints


@pytest.fixture
def planner(engineer: Engineer) -> Iterator[Planner]:
    """A planner with a model."""
    with FakeLLM() as fake:
        yield Planner(engineer, fake)


def test_a_model_is_told_how_an_earlier_task_like_its_own_was_planned_and_ended(planner: Planner) -> None:
    task_id = planner.run(GOAL)

    hints = planner.hints()

    question = planner.fake.received[-1].text
    assert hints == [{"task_id": task_id, "likeness": 0.75}]
    assert GOAL in question.replace('\\"', '"')
    assert "1 executor.wait. Passed." in question
    assert SECRET_TEXT not in question


def test_a_rejected_plan_is_told_as_a_fault(planner: Planner) -> None:
    planner.run(GOAL, verdict=REJECTED, budget=Budget(max_replans=0))

    assert len(planner.hints()) == 1
    assert (
        "1 executor.wait. This plan failed: validation_failed. Not met: The apples are red."
        in planner.fake.received[-1].text
    )


def test_a_goal_of_other_words_is_no_hint_nor_is_an_open_task(planner: Planner) -> None:
    planner.run("Translate the letter into Dutch")
    planner.plan(GOAL)

    assert planner.hints() == []


def test_nothing_of_another_tenant_is_a_hint(planner: Planner) -> None:
    planner.run(GOAL, tenant="another")

    assert planner.hints() == []


def test_a_deleted_task_is_no_hint(planner: Planner) -> None:
    task_id = planner.run(GOAL)
    with transaction(planner.engineer.engine) as conn:
        retention.delete_tasks(conn, [task_id])

    assert planner.hints() == []
    assert planner.engineer.ask("SELECT FROM planned_goals WHERE task_id = %(id)s", id=task_id) == []


@pytest.mark.parametrize("mode", ["no_store", "bypass"])
def test_a_task_that_is_not_stored_for_others_is_no_hint(planner: Planner, mode: str) -> None:
    planner.run(GOAL, cache=CACHE_MODES[mode])

    assert planner.hints() == []


def test_a_task_whose_goal_was_redacted_is_no_hint(planner: Planner) -> None:
    planner.run(GOAL, redacted={"email": 1})

    assert planner.hints() == []


@pytest.mark.parametrize("mode", ["refresh", "bypass"])
def test_a_task_that_wants_nothing_of_earlier_ones_takes_no_hints(planner: Planner, mode: str) -> None:
    planner.run(GOAL)

    assert planner.hints(cache=CACHE_MODES[mode]) == []


def test_hints_can_be_switched_off(planner: Planner) -> None:
    planner.run(GOAL)
    planner.process = replace(planner.process, settings=replace(planner.engineer.settings, plan_hints="off"))

    assert planner.hints() == []
    assert len(planner.engineer.ask("SELECT FROM planned_goals")) == 1


def test_with_an_embedding_model_hints_are_found_by_meaning_too(planner: Planner) -> None:
    planner.embedder = embedder(planner.fake)
    task_id = planner.run(GOAL)

    hints = planner.hints("Tarry for a crop of scarlet fruit")

    assert [hint["task_id"] for hint in hints] == [task_id]
    assert [one.path for one in planner.fake.received].count("/v1/embeddings") == 2


def test_a_failing_embedding_model_leaves_the_hints_by_words(planner: Planner) -> None:
    planner.embedder = embedder(planner.fake)
    planner.fake.fail(Fault.INSUFFICIENT_QUOTA)
    task_id = planner.run(GOAL)

    assert [hint["task_id"] for hint in planner.hints()] == [task_id]


def recall(planner: Planner, goal: Goal, *, task_id: str = "task_0000000000000000") -> list[EarlierPlan]:
    with statement(planner.engineer.engine) as conn:
        return planned_goals.recall(conn, TENANT, task_id, goal, is_kept=True)


def test_goals_without_a_common_word_are_found_by_their_meaning(planner: Planner) -> None:
    task_id = planner.run(GOAL)
    signs = [1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0]
    meaning = Goal.of(GOAL, vector=signs).meaning
    planner.engineer.ask("UPDATE planned_goals SET meaning = %(meaning)s::bit varying", meaning=meaning)

    near = recall(planner, Goal.of("Tarry until autumn", vector=[*signs[:7], 1.0]))
    far = recall(planner, Goal.of("Tarry until autumn", vector=[-sign for sign in signs]))
    of_another_model = recall(planner, Goal.of("Tarry until autumn", vector=signs[:7]))

    assert [(plan.task_id, round(plan.likeness, 2)) for plan in near] == [(task_id, 0.92)]
    assert (far, of_another_model) == ([], [])


def test_a_goal_is_kept_once_and_not_for_a_task_that_is_gone(planner: Planner) -> None:
    claim, _ = planner.plan(GOAL)

    recall(planner, Goal.of(GOAL), task_id=claim.task_id)
    recall(planner, Goal.of(GOAL), task_id="task_gggggggggggggggg")

    assert planner.engineer.ask("SELECT task_id FROM planned_goals") == [{"task_id": claim.task_id}]

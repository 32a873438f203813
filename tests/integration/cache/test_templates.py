"""The plan layer: a model's plan that passed is bound to a goal of other values; the result is always made anew."""

from dataclasses import replace
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

from orchestrator.cache.signed_store import PREFIX
from orchestrator.models.execution_state import Decision, Plan, Verdict
from orchestrator.models.task_contract import CACHE_MODES, Budget
from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.integration.cache.kit import RIGHT, Company, tampered

GOAL = "Pause for 20 seconds and say 'good morning'"
LIKE_IT = "Pause for 45 seconds and say 'good night'"
STEPS = [
    {
        "id": "pause",
        "description": "Pause for 20 s",
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": 20},
        "depends_on": [],
        "acceptance_criteria": [],
    },
    {
        "id": "say",
        "description": "Say it",
        "arm": "retriever",
        "action": "collect",
        "inputs": {"values": ["good morning"]},
        "depends_on": ["pause"],
        "acceptance_criteria": [{"text": "it is said", "check": {"pointer": "/values", "exists": True}}],
    },
]
PLAN = {"rationale": "pause, then say it", "confidence": 0.9, "steps": STEPS}
WRONG = Verdict(Decision.FAILED, 1.0, faulty={"say": "not so"})


def test_a_plan_that_passed_is_bound_to_the_values_of_a_goal_like_it(office: Company, fake: FakeLLM) -> None:
    source = solved(office, fake)

    plan = office.plan_by_model(office.submit(LIKE_IT).task_id)

    assert len(fake.received) == 1
    assert plan.mode == "template"
    assert plan.steps[0].inputs == {"seconds": 45}
    assert plan.steps[0].description == "Pause for 45 s"
    assert plan.steps[1].inputs == {"values": ["good night"]}
    assert plan.provenance["template_of"] == source
    assert plan.provenance["values"] == [["20", "45"], ["good morning", "good night"]]
    assert plan.provenance["made_by"]["llm_used"] is True


def test_a_bound_plan_is_executed_and_judged(office: Company, fake: FakeLLM) -> None:
    solved(office, fake)
    second = office.submit(LIKE_IT).task_id
    office.plan_by_model(second)

    office.finish(second, *STEPS)

    task = office.engineer.task(second)
    assert (task.status, task.cache) == ("completed", None)
    assert office.engineer.states(second) == dict.fromkeys(["$plan", "pause", "say", "$judge"], "done")


def test_a_plan_is_used_again_where_its_result_may_not_be(office: Company, fake: FakeLLM) -> None:
    """A pause holds for the moment only, so the result was not kept; the plan was."""
    source = solved(office, fake)

    again = office.submit(GOAL)
    plan = office.plan_by_model(again.task_id)

    assert again.cached.outcome == "miss"
    assert (plan.mode, plan.provenance["template_of"]) == ("template", source)


def test_a_bound_plan_that_breaks_a_rule_is_made_by_the_model_instead(office: Company, fake: FakeLLM) -> None:
    solved(office, fake)
    fake.answer(PLAN)

    plan = office.plan_by_model(office.submit("Pause for 999999 seconds and say 'good night'").task_id)

    assert plan.mode == "llm"
    assert len(fake.received) == 2


def test_all_else_is_planned_by_the_model(office: Company, fake: FakeLLM) -> None:
    solved(office, fake)
    others: list[dict[str, Any]] = [
        {"goal": "Pause for 45 seconds and shout 'good night'"},
        {"tenant": "another"},
        {"constraints": ["softly"]},
        {"context": "another text"},
        {"cache": CACHE_MODES["bypass"]},
        {"cache": CACHE_MODES["refresh"]},
    ]
    for other in others:
        fake.answer(PLAN)
        plan = office.plan_by_model(office.submit(**{"goal": LIKE_IT, **other}).task_id)

        assert plan.mode == "llm", other


@pytest.mark.parametrize(
    "verdict",
    [replace(RIGHT, decision=Decision.INCONCLUSIVE), replace(RIGHT, coverage=0.5)],
    ids=["inconclusive", "doubtful"],
)
def test_a_plan_that_was_not_shown_to_do_its_work_is_not_kept(
    office: Company, fake: FakeLLM, client: "redis.Redis", verdict: Verdict
) -> None:
    solved(office, fake, verdict=verdict)

    assert client.keys(f"{PREFIX}plan:*") == []


def test_a_plan_in_which_a_value_does_not_stand_is_not_kept(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    solved(office, fake, goal="Pause for 20 seconds and say 'good evening'")

    assert client.keys(f"{PREFIX}plan:*") == []


def test_no_store_keeps_no_plan(office: Company, fake: FakeLLM, client: "redis.Redis") -> None:
    solved(office, fake, cache=CACHE_MODES["no_store"])

    assert client.keys(f"{PREFIX}plan:*") == []


def test_a_bound_plan_that_is_rejected_is_used_no_more(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    solved(office, fake)
    second = office.submit(LIKE_IT, budget=Budget(max_repairs=0)).task_id
    office.plan_by_model(second)
    office.finish(second, *STEPS, verdict=WRONG)
    fake.answer(PLAN)

    third = office.plan_by_model(office.submit(LIKE_IT).task_id)

    assert office.engineer.task(second).status == "failed"
    assert client.keys(f"{PREFIX}plan:*") == []
    assert third.mode == "llm"


def test_a_bound_plan_that_passed_does_not_live_longer_for_it(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    solved(office, fake)
    [name] = client.keys(f"{PREFIX}plan:*")
    client.expire(name, 10)
    second = office.submit(LIKE_IT).task_id
    office.plan_by_model(second)

    office.finish(second, *STEPS)

    assert client.keys(f"{PREFIX}plan:*") == [name]
    assert client.ttl(name) <= 10


def test_a_pointer_that_was_tampered_with_is_none(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    solved(office, fake)
    [name] = client.keys(f"{PREFIX}plan:*")
    client.set(name, tampered(client.get(name)))
    fake.answer(PLAN)

    assert office.plan_by_model(office.submit(LIKE_IT).task_id).mode == "llm"


def test_a_well_sealed_pointer_to_another_tenants_task_is_none(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    foreign = solved(office, fake, tenant="another")
    [theirs] = client.keys(f"{PREFIX}plan:*")
    solved(office, fake)
    [ours] = set(client.keys(f"{PREFIX}plan:*")) - {theirs}
    office.cache.store.put(ours.decode().removeprefix(PREFIX), foreign, seconds=60)
    fake.answer(PLAN)

    assert office.plan_by_model(office.submit(LIKE_IT).task_id).mode == "llm"


def test_without_redis_the_model_plans(engine: Engine, our_settings: Settings, fake: FakeLLM) -> None:
    office = Company(engine, replace(our_settings, redis_url="redis://127.0.0.1:1/0"), fake)
    solved(office, fake)
    fake.answer(PLAN)

    assert office.plan_by_model(office.submit(LIKE_IT).task_id).mode == "llm"


def test_where_recipes_plan_no_plan_is_kept(
    engine: Engine, our_settings: Settings, client: "redis.Redis"
) -> None:
    office = Company(engine, our_settings)
    task = office.submit("Scan this text for secrets", context="Nothing is hidden here.").task_id
    plan = office.plan_by_model(task)
    for step in plan.steps:
        office.engineer.do(task, step.id)

    office.judge(task)

    assert plan.mode == "rules"
    assert client.keys(f"{PREFIX}plan:*") == []


def solved(
    office: Company, fake: FakeLLM, goal: str = GOAL, *, verdict: Verdict = RIGHT, **contract: Any
) -> str:
    """Have a goal planned by the model and done; return the task's id."""
    fake.answer(PLAN)
    task_id = str(office.submit(goal, **contract).task_id)
    plan: Plan = office.plan_by_model(task_id)
    assert plan.mode == "llm"
    office.finish(task_id, *STEPS, verdict=verdict)
    return task_id

"""Request coalescing (rule 18): of equal tasks one runs, the others follow it, and every follower ends."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import conclusion
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel, ending, submission
from orchestrator.models.caller import Caller, IdempotencyKey
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import CACHE_MODES, Budget, Contract, Priority
from orchestrator.models.verdict import Decision
from tests.integration.cache.kit import COLLECT, GOAL, RIGHT, WAIT, Company, with_settings
from tests.integration.kit import TENANT, failed

CROWD = 50


def follow(company: Company, **contract: Any) -> str:
    """Submit the goal again as a follower; return its id."""
    submitted = company.submit(**contract)
    assert submitted.cached.outcome == "coalesced", submitted
    return submitted.task_id


def test_of_fifty_equal_submissions_at_once_one_runs(company: Company) -> None:
    with ThreadPoolExecutor(8) as pool:
        all_submitted = list(pool.map(lambda _: company.submit(), range(CROWD)))

    leaders = [one.task_id for one in all_submitted if one.cached.outcome == "miss"]
    followers = [one.task_id for one in all_submitted if one.cached.outcome == "coalesced"]
    assert (len(leaders), len(followers)) == (1, CROWD - 1)
    ended = company.run(leaders[0])
    assert sorted(one.task_id for one in ended.shared) == sorted(followers)
    assert _plans_claimed(company) == 1
    for task_id in followers:
        task = company.engineer.task(task_id)
        assert (task.status, task.percentage, task.tokens_used) == ("completed", 100, 0)
        assert task.result == company.engineer.task(leaders[0]).result
        told = company.engineer.events(task_id)
        assert [event.type for event in told] == ["task.submitted", "task.cache", "task.completed"]
        assert [event.seq for event in told] == [1, 2, 3]


def test_a_follower_names_its_leader(company: Company) -> None:
    leader = company.submit().task_id

    task = company.engineer.task(follow(company))

    assert (task.status, task.phase) == ("queued", "accepted")
    assert task.cache == {"layer": "coalesced", "source_task_id": leader, "age_seconds": 0}


def test_followers_have_their_own_callbacks(company: Company) -> None:
    reachable = with_settings(company, webhook_allowed_hosts=("example.org",))
    leader = company.submit().task_id
    follower = reachable.submit(callback_url="https://example.org/told").task_id

    company.run(leader)

    assert company.engineer.ask("SELECT task_id, seq FROM webhooks") == [{"task_id": follower, "seq": 3}]


def test_the_oldest_follower_runs_when_the_leader_is_cancelled(company: Company) -> None:
    leader = company.submit().task_id
    successor, other = follow(company), follow(company)

    cancel.cancel(company.process.engine, tenant=TENANT, task_id=leader)

    assert company.engineer.states(successor) == {"$plan": "queued"}
    cache = company.engineer.task(other).cache
    assert cache is not None
    assert cache["source_task_id"] == successor
    ended = company.run(successor)
    assert [one.task_id for one in ended.shared] == [other]
    assert company.engineer.task(leader).status == "cancelled"
    assert {company.engineer.task(one).status for one in (successor, other)} == {"completed"}
    assert [event.seq for event in company.engineer.events(successor)] == list(
        range(1, company.engineer.task(successor).event_seq + 1)
    )


def test_a_promoted_follower_is_queued_at_once(company: Company) -> None:
    leader = company.submit().task_id
    successor = follow(company)

    cancel.cancel(company.process.engine, tenant=TENANT, task_id=leader)

    [row] = company.engineer.ask(
        "SELECT due <= now() AS is_due, sends FROM steps WHERE task_id = %(id)s", id=successor
    )
    assert row == {"is_due": True, "sends": 0}


def test_cancelling_a_follower_affects_no_other_task(company: Company) -> None:
    leader = company.submit().task_id
    leaving, staying = follow(company), follow(company)

    cancel.cancel(company.process.engine, tenant=TENANT, task_id=leaving)
    company.run(leader)

    assert company.engineer.task(leaving).status == "cancelled"
    assert company.engineer.task(staying).status == "completed"


def test_a_follower_keeps_its_own_deadline(company: Company) -> None:
    company.submit()
    late = follow(company)
    company.engineer.ask("UPDATE tasks SET deadline_at = now() WHERE id = %(id)s", id=late)

    ended = ending.end_at_deadline(company.process.engine, late)

    assert ended is not None
    assert ended.status is TaskStatus.FAILED
    error = company.engineer.task(late).error
    assert error is not None
    assert error["code"] == "deadline_exceeded"


def test_a_leaders_deadline_promotes_a_follower(company: Company) -> None:
    leader = company.submit().task_id
    successor = follow(company)
    company.engineer.ask("UPDATE tasks SET deadline_at = now() WHERE id = %(id)s", id=leader)

    ending.end_at_deadline(company.process.engine, leader)

    assert company.engineer.states(successor) == {"$plan": "queued"}


def test_followers_without_time_left_are_not_promoted(company: Company) -> None:
    leader = company.submit().task_id
    late, successor = follow(company), follow(company)
    company.engineer.ask("UPDATE tasks SET deadline_at = now() WHERE id = %(id)s", id=late)

    cancel.cancel(company.process.engine, tenant=TENANT, task_id=leader)

    assert company.engineer.states(late) == {}
    assert company.engineer.states(successor) == {"$plan": "queued"}


@pytest.mark.parametrize(("code", "status"), [("unplannable", "failed"), ("model_unavailable", "queued")])
def test_a_permanent_failure_is_shared_and_a_passing_one_promotes_a_follower(
    company: Company, code: str, status: str
) -> None:
    leader = company.submit().task_id
    follower = follow(company)
    claim = company.engineer.take(leader, "$plan")

    with transaction(company.process.engine) as conn:
        conclusion.fail_task(conn, claim, error={"code": code, "message": "no"}, kind="planning_failed")

    task = company.engineer.task(follower)
    assert task.status == status
    assert (task.error or {}).get("code") == (code if status == "failed" else None)


def test_a_rejected_result_is_rejected_for_all_followers(company: Company) -> None:
    leader = company.submit(budget=Budget(max_repairs=0)).task_id
    follower = follow(company)

    company.run(leader, verdict=replace(RIGHT, decision=Decision.FAILED))

    assert company.engineer.task(follower).status == "failed"
    assert company.submit(budget=Budget(max_repairs=0)).cached.outcome == "miss"


def test_an_exhausted_budget_promotes_a_follower(company: Company) -> None:
    leader = company.submit().task_id
    follower = follow(company)
    company.plan(leader)
    claim = company.engineer.take(leader, "a")

    with transaction(company.process.engine) as conn:
        conclusion.exhaust(conn, claim, _out_of_budget())

    assert company.engineer.task(leader).status == "failed"
    assert company.engineer.states(follower) == {"$plan": "queued"}


def test_a_result_valid_for_the_moment_only_is_not_shared(company: Company) -> None:
    leader = company.submit().task_id
    follower = follow(company)

    company.run(leader, WAIT)

    assert company.engineer.task(leader).status == "completed"
    assert company.engineer.states(follower) == {"$plan": "queued"}


def test_an_inconclusive_result_is_shared_but_not_stored(company: Company) -> None:
    leader = company.submit().task_id
    follower = follow(company)

    company.run(leader, verdict=replace(RIGHT, decision=Decision.INCONCLUSIVE))

    assert company.engineer.task(follower).status == "completed"
    assert company.submit().cached.outcome == "miss"


def test_a_follower_with_higher_priority_raises_the_leader_and_its_queued_steps(company: Company) -> None:
    leader = company.submit(priority=Priority.LOW).task_id
    company.plan(leader, COLLECT, {**COLLECT, "id": "b", "depends_on": ["a"]})
    company.engineer.ask("UPDATE steps SET due = now() + interval '1 hour' WHERE state = 'queued'")

    follow(company, priority=Priority.CRITICAL)

    assert company.engineer.task(leader).priority == "critical"
    rows = company.engineer.ask(
        "SELECT name, priority, coalesce(due <= now(), false) AS is_due FROM steps WHERE state <> 'done' ORDER BY name"
    )
    assert rows == [
        {"name": "$judge", "priority": 0, "is_due": False},
        {"name": "a", "priority": 0, "is_due": True},
        {"name": "b", "priority": 0, "is_due": False},
    ]


def test_a_follower_with_lower_priority_leaves_the_leader_unchanged(company: Company) -> None:
    leader = company.submit(priority=Priority.HIGH).task_id

    follow(company, priority=Priority.LOW)

    assert company.engineer.task(leader).priority == "high"


@pytest.mark.parametrize(
    "budget",
    [
        Budget(max_tokens=9_999),
        Budget(max_cost_dollars=Decimal("0.5")),
        Budget(max_time_seconds=10),
    ],
)
def test_a_task_with_a_smaller_budget_than_the_leader_does_not_follow(
    company: Company, budget: Budget
) -> None:
    company.submit()

    apart = company.submit(budget=budget)

    assert apart.cached.outcome == "miss"
    assert company.engineer.states(apart.task_id) == {"$plan": "queued"}


def test_a_refresh_neither_follows_nor_leads(company: Company) -> None:
    company.submit()

    refreshed = company.submit(cache=CACHE_MODES["refresh"])

    assert company.engineer.states(refreshed.task_id) == {"$plan": "queued"}
    assert company.engineer.task(follow(company)).cache != {"source_task_id": refreshed.task_id}


def test_an_idempotency_key_makes_one_follower(company: Company) -> None:
    company.submit()
    idempotency = IdempotencyKey("key:k", "0" * 64, 60)

    first, second = (_submit_once(company, idempotency) for _ in range(2))

    assert first.cached.outcome == "coalesced"
    assert (second.task_id, second.is_replay) == (first.task_id, True)
    assert len(company.engineer.ask("SELECT id FROM tasks")) == 2


def test_an_idempotency_key_makes_one_hit(company: Company) -> None:
    company.solved()
    idempotency = IdempotencyKey("key:k", "0" * 64, 60)

    first, second = (_submit_once(company, idempotency) for _ in range(2))

    assert first.cached.outcome == "hit"
    assert (second.task_id, second.is_replay) == (first.task_id, True)


def test_a_task_submitted_while_the_leader_ends_ends_too(company: Company) -> None:
    chance = random.Random(7)
    for number in range(12):
        goal = f"List the {number + 10} largest files"
        leader = company.submit(goal).task_id
        company.plan(leader)
        company.engineer.do(leader, "a")
        arrivals: list[str] = []

        def arrive(goal: str = goal, arrivals: list[str] = arrivals) -> None:
            arrivals.extend(company.submit(goal).task_id for _ in range(chance.randint(1, 4)))

        crowd = [threading.Thread(target=arrive) for _ in range(3)]
        for one in crowd:
            one.start()
        company.judge(leader)
        for one in crowd:
            one.join()
        for task_id in [task for task in arrivals if company.engineer.states(task)]:
            company.plan(task_id)

        assert {company.engineer.task(task).status for task in arrivals} == {"completed"}, goal
        assert company.engineer.ask("SELECT id FROM tasks WHERE finished_at IS NULL") == []


def _submit_once(company: Company, idempotency: IdempotencyKey) -> submission.Submitted:
    return submission.submit(
        company.process.engine,
        settings=replace(company.settings, openai_api_key="k"),
        caller=Caller(TENANT, scopes=frozenset(["task:submit"]), idempotency=idempotency),
        contract=Contract(goal=GOAL),
        cache=company.cache,
    )


def _plans_claimed(company: Company) -> int:
    return len(company.engineer.ask("SELECT id FROM steps WHERE kind = 'plan' AND attempt > 0"))


def _out_of_budget() -> StepResult:
    return failed("budget_exceeded")

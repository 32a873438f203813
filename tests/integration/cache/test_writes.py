"""What a task writes, it writes for itself: no result of a write is remembered, cached or shared."""

from dataclasses import replace

import pytest

from orchestrator.models.task_contract import Budget
from orchestrator.models.verdict import Decision
from tests.integration.attempt_kit import run_step
from tests.integration.cache.kit import COLLECT, RIGHT, Company
from tests.ledger import Ledger, append
from workers.attempt.context import AttemptContext

pytestmark = pytest.mark.usefixtures("ledger")


@pytest.mark.parametrize("action", ["append", "put"])
def test_an_equal_write_is_not_remembered(company: Company, ledger: Ledger, action: str) -> None:
    for goal in ("Write it down", "Write it down again"):
        task_id = company.submit(goal).task_id
        company.plan(task_id, append("a", action=action))
        claim = company.engineer.take(task_id, "a")
        result = run_step(AttemptContext.of(company.process, claim))
        assert "memo_of" not in result.provenance

    assert len(ledger.lines()) == 2


@pytest.mark.parametrize("action", ["append", "put"])
def test_a_task_that_wrote_is_not_cached_and_its_followers_run_themselves(
    company: Company, action: str
) -> None:
    leader = company.submit().task_id
    follower = company.submit()
    assert follower.cached.outcome == "coalesced"

    ended = company.run(leader, COLLECT, {**append("b", "a"), "action": action})

    assert ended.shared == ()
    assert company.engineer.states(follower.task_id) == {"$plan": "queued"}
    company.run(follower.task_id, {**append("b"), "action": action})
    assert company.submit().cached.outcome == "miss"


def test_not_even_the_rejection_of_a_write_is_shared(company: Company) -> None:
    leader = company.submit(budget=Budget(max_repairs=0)).task_id
    follower = company.submit(budget=Budget(max_repairs=0)).task_id

    company.run(leader, append("a"), verdict=replace(RIGHT, decision=Decision.FAILED))

    assert company.engineer.task(leader).status == "failed"
    assert company.engineer.states(follower) == {"$plan": "queued"}

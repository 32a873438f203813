"""A task's budget is reserved before each call and settled after it, and never exceeded, even when workers die."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import open_engine, transaction
from orchestrator.lifecycle import cancel, requeue
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm.completion import UsageBound
from orchestrator.llm.provider import Usage
from orchestrator.memory import steps
from orchestrator.memory.budget import LedgerEntry
from orchestrator.memory.claims import Claim
from orchestrator.models.errors import BudgetExceeded, BudgetTaken, PriceUnknown, StepError, Stopped
from orchestrator.models.task_contract import Budget
from tests.fake_llm.server import FakeLLM
from tests.integration.budget_kit import ledger, reserve, totals, working
from tests.integration.kit import TENANT, Engineer, wait_step

PARALLEL = 16


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.fixture
def crowd(postgres_url: str) -> Iterator[Engine]:
    """An engine with a connection for each parallel step."""
    engine = open_engine(postgres_url, pool_size=PARALLEL)
    yield engine
    engine.dispose()


def test_a_call_is_reserved_then_charged_by_its_usage(engineer: Engineer) -> None:
    claim, account = working(engineer)

    call = reserve(account, UsageBound(300, 100, Decimal("0.4")))
    during = ledger(engineer, claim)
    account.settle(call, Usage(30, 10), Decimal("0.04"))

    assert (during[0].reserved_tokens, during[0].settled_at) == (400, None)
    assert totals(engineer, claim) == (40, Decimal("0.04"))
    assert reserve(account, UsageBound(1, 1, None)) == 2


def test_a_call_without_a_price_makes_the_cost_unknown_and_not_zero(engineer: Engineer) -> None:
    claim, account = working(engineer)

    account.settle(reserve(account, UsageBound(10, 10, None)), Usage(1, 1), None)
    account.settle(reserve(account, UsageBound(10, 10, Decimal(0))), Usage(1, 1), Decimal("0.1"))

    assert totals(engineer, claim) == (4, None)


def test_a_call_of_unknown_outcome_is_charged_in_full(engineer: Engineer) -> None:
    claim, account = working(engineer)

    account.settle(reserve(account, UsageBound(300, 100, Decimal("0.4"))), None, None)

    assert totals(engineer, claim) == (400, Decimal("0.4"))


def test_a_call_is_charged_once(engineer: Engineer) -> None:
    claim, account = working(engineer)
    call = reserve(account, UsageBound(300, 100, None))

    account.settle(call, Usage(1, 1), Decimal(0))
    account.settle(call, Usage(100, 100), Decimal(1))

    assert totals(engineer, claim) == (2, Decimal(0))


@pytest.mark.parametrize(
    ("limit", "bound", "named"),
    [
        (Budget(max_tokens=100), UsageBound(60, 41, Decimal(0)), "max_tokens"),
        (Budget(max_cost_dollars=Decimal("0.5")), UsageBound(1, 1, Decimal("0.51")), "max_cost_dollars"),
    ],
)
def test_a_call_that_can_never_fit_fails_and_names_the_budget(
    engineer: Engineer, limit: Budget, bound: UsageBound, named: str
) -> None:
    _, account = working(engineer, limit)

    with pytest.raises(BudgetExceeded) as refused:
        reserve(account, bound)

    assert refused.value.details["budget"] == named
    assert not refused.value.retryable


def test_a_call_that_fits_after_other_open_calls_waits(engineer: Engineer) -> None:
    _, account = working(engineer, Budget(max_tokens=100))
    held = reserve(account, UsageBound(30, 30, Decimal(0)))

    with pytest.raises(BudgetTaken) as wait:
        reserve(account, UsageBound(30, 30, Decimal(0)))
    account.settle(held, Usage(20, 20), Decimal(0))

    assert wait.value.details["retry_after"] > 0
    assert reserve(account, UsageBound(30, 30, Decimal(0))) == 2
    with pytest.raises(BudgetExceeded):
        reserve(account, UsageBound(30, 31, Decimal(0)))


def test_a_model_without_a_price_is_refused_when_the_client_limits_the_cost(engineer: Engineer) -> None:
    _, account = working(engineer, Budget(is_cost_explicit=True))

    with pytest.raises(PriceUnknown):
        reserve(account, UsageBound(1, 1, None))

    assert reserve(account, UsageBound(1, 1, Decimal("0.1"))) == 1


def test_an_attempt_that_lost_its_lease_may_not_reserve(engineer: Engineer) -> None:
    claim, account = working(engineer)
    _claim_again(engineer, claim)

    with pytest.raises(Stopped):
        reserve(account, UsageBound(1, 1, None))


def test_a_dead_workers_reservation_is_charged_in_full_when_its_step_is_claimed_again(
    engineer: Engineer,
) -> None:
    claim, account = working(engineer)
    lost = reserve(account, UsageBound(300, 100, Decimal("0.4")))
    again = _claim_again(engineer, claim)

    reserve(ClaimBudgetAccount(engineer.engine, again), UsageBound(1, 1, Decimal(0)))
    account.settle(lost, Usage(1, 1), Decimal(0), is_reported=False)

    assert totals(engineer, claim) == (400, Decimal("0.4"))
    assert [entry.spent_tokens for entry in ledger(engineer, claim)] == [400, None]


def test_a_charge_in_full_is_corrected_once_when_the_provider_reports_less(engineer: Engineer) -> None:
    claim, account = working(engineer)
    lost = reserve(account, UsageBound(300, 100, Decimal("0.4")))
    reserve(ClaimBudgetAccount(engineer.engine, _claim_again(engineer, claim)), UsageBound(1, 1, Decimal(0)))

    account.settle(lost, Usage(30, 10), Decimal("0.04"))
    account.settle(lost, Usage(3, 1), Decimal("0.01"))

    assert totals(engineer, claim) == (40, Decimal("0.04"))
    assert [entry.spent_tokens for entry in ledger(engineer, claim)] == [40, None]


def test_the_first_size_that_fits_is_reserved(engineer: Engineer) -> None:
    _, account = working(engineer, Budget(max_tokens=100))
    sizes = [UsageBound(50, size, Decimal(0)) for size in (60, 40, 20)]

    first, second = account.reserve(sizes), reserve(account, UsageBound(5, 5, Decimal(0)))
    with pytest.raises(BudgetTaken):
        account.reserve(sizes)
    account.settle(first[0], Usage(20, 0), Decimal(0))

    assert (first, second) == ((1, sizes[1]), 2)
    assert account.reserve(sizes) == (3, sizes[2])
    with pytest.raises(BudgetExceeded, match="20 is spent, and the next call may cost 81"):
        account.reserve([UsageBound(200, 1, Decimal(0)), UsageBound(80, 1, Decimal(0))])


def test_another_step_is_not_delayed_by_a_dead_workers_reservation(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"), budget=Budget(max_tokens=100))
    dead, alive = engineer.take(task_id, "a"), engineer.take(task_id, "b")
    reserve(ClaimBudgetAccount(engineer.engine, dead), UsageBound(20, 20, Decimal(0)))
    with transaction(engineer.engine) as conn:
        steps.hand_back(conn, dead.id, owner="me", kills=1)

    call = reserve(ClaimBudgetAccount(engineer.engine, alive), UsageBound(30, 30, Decimal(0)))

    assert call == 1
    assert totals(engineer, alive) == (40, Decimal(0))


def test_the_end_of_a_task_charges_its_open_reservations(engineer: Engineer) -> None:
    claim, account = working(engineer)
    call = reserve(account, UsageBound(300, 100, Decimal("0.4")))

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=claim.task_id, reason="")

    assert totals(engineer, claim) == (400, Decimal("0.4"))
    assert all(entry.settled_at for entry in ledger(engineer, claim))
    account.settle(call, Usage(1, 1), Decimal("0.1"))
    assert totals(engineer, claim) == (2, Decimal("0.1"))


def test_sixteen_parallel_calls_do_not_overshoot_by_one_token(engineer: Engineer, crowd: Engine) -> None:
    bound = UsageBound(70, 30, Decimal("0.01"))
    claims = _parallel(engineer, Budget(max_tokens=5 * bound.tokens + 99))
    start = Barrier(PARALLEL)

    def outcome(claim: Claim) -> str:
        start.wait(timeout=30)
        try:
            reserve(ClaimBudgetAccount(crowd, claim), bound)
        except StepError as error:
            return error.code
        return "reserved"

    with ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = Counter(pool.map(outcome, claims))

    assert outcomes == {"reserved": 5, "budget_taken": 11}
    assert sum(entry.reserved_tokens for entry in ledger(engineer, claims[0])) == 500


def test_sixteen_parallel_spenders_stay_within_both_budgets(engineer: Engineer, crowd: Engine) -> None:
    limit = Budget(max_tokens=6000, max_cost_dollars=Decimal("0.6"))
    claims = _parallel(engineer, limit)

    def spend(claim: Claim) -> int:
        account, chance, waits = ClaimBudgetAccount(crowd, claim), random.Random(claim.id), 0
        while True:
            sent, made = chance.randint(1, 200), chance.randint(1, 100)
            try:
                call = reserve(account, UsageBound(sent, made, Decimal(sent + made) / 10_000))
            except BudgetTaken:
                waits += 1
            except BudgetExceeded:
                return waits
            else:
                part = chance.random()
                used = Usage(int(sent * part), int(made * part))
                account.settle(call, used, Decimal(used.tokens) / 10_000)

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(spend, claims))

    tokens, cost = totals(engineer, claims[0])
    calls = ledger(engineer, claims[0])
    assert 6000 - 300 < tokens <= 6000
    assert cost is not None
    assert cost <= limit.max_cost_dollars
    assert tokens == sum(entry.spent_tokens or 0 for entry in calls)
    assert cost == sum(entry.spent_cost or 0 for entry in calls)
    assert _most_at_once(calls) <= 6000


def test_using_four_fifths_of_a_budget_gives_one_warning(engineer: Engineer) -> None:
    claim, account = working(engineer, Budget(max_tokens=100))
    for _ in range(9):
        account.settle(reserve(account, UsageBound(5, 5, Decimal(0))), Usage(5, 5), Decimal(0))

    warnings = [event.payload for event in engineer.events(claim.task_id) if event.type == "budget.warning"]

    assert warnings == [{"budget": "max_tokens", "spent": "80", "limit": "100"}]


def test_waiting_for_room_counts_as_no_failure(engineer: Engineer) -> None:
    claim, _ = working(engineer)

    postponed = requeue.postpone(engineer.engine, claim, BudgetTaken(details={"retry_after": 0.05}))

    row = engineer.row(claim.task_id, claim.name)
    assert postponed
    assert (row["state"], row["failures"], row["kills"]) == ("queued", 0, 0)
    assert not requeue.postpone(engineer.engine, claim, BudgetTaken())


def _parallel(engineer: Engineer, limit: Budget) -> list[Claim]:
    names = [f"s{number}" for number in range(PARALLEL)]
    task_id = engineer.start(*(wait_step(name) for name in names), budget=limit)
    return [engineer.take(task_id, name) for name in names]


def _claim_again(engineer: Engineer, claim: Claim) -> Claim:
    with transaction(engineer.engine) as conn:
        steps.hand_back(conn, claim.id, owner="me", kills=1)
    return engineer.take(claim.task_id, claim.name, owner="another")


def _most_at_once(calls: list[LedgerEntry]) -> int:
    """Return the highest sum of spent and reserved tokens at any time."""
    moves = [(entry.reserved_at, entry.reserved_tokens) for entry in calls]
    moves += [
        (entry.settled_at, (entry.spent_tokens or 0) - entry.reserved_tokens)
        for entry in calls
        if entry.settled_at
    ]
    level = most = 0
    for _, change in sorted(moves, key=lambda move: (move[0], move[1])):
        level += change
        most = max(most, level)
    return most

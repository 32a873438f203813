"""A task's budget is reserved before each call and settled after it, and never exceeded, even when workers die."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.lifecycle import cancel, metered_calls, requeue
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm.completion import BudgetAccount, Completion, CompletionRequest, UsageBound
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import Usage
from orchestrator.memory import budget, events, steps
from orchestrator.memory.budget import LedgerEntry
from orchestrator.memory.claims import Claim
from orchestrator.models.errors import BudgetExceeded, BudgetTaken, PriceUnknown, StepError, Stopped
from orchestrator.models.model_errors import ModelError, ModelNoAnswer
from orchestrator.models.task_contract import Budget
from tests.fake_llm.server import FakeLLM, Fault, Scripted
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.llm_kit import HELLO, PURPOSE, ModelCaller

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
    claim, account = _working(engineer)

    call = account.reserve(UsageBound(300, 100, Decimal("0.4")))
    during = _ledger(engineer, claim)
    account.settle(call, Usage(30, 10), Decimal("0.04"))

    assert (during[0].reserved_tokens, during[0].settled_at) == (400, None)
    assert _totals(engineer, claim) == (40, Decimal("0.04"))
    assert account.reserve(UsageBound(1, 1, None)) == 2


def test_a_call_without_a_price_makes_the_cost_unknown_and_not_zero(engineer: Engineer) -> None:
    claim, account = _working(engineer)

    account.settle(account.reserve(UsageBound(10, 10, None)), Usage(1, 1), None)
    account.settle(account.reserve(UsageBound(10, 10, Decimal(0))), Usage(1, 1), Decimal("0.1"))

    assert _totals(engineer, claim) == (4, None)


def test_a_call_of_unknown_outcome_is_charged_in_full(engineer: Engineer) -> None:
    claim, account = _working(engineer)

    account.settle(account.reserve(UsageBound(300, 100, Decimal("0.4"))), None, None)

    assert _totals(engineer, claim) == (400, Decimal("0.4"))


def test_a_call_is_charged_once(engineer: Engineer) -> None:
    claim, account = _working(engineer)
    call = account.reserve(UsageBound(300, 100, None))

    account.settle(call, Usage(1, 1), Decimal(0))
    account.settle(call, Usage(100, 100), Decimal(1))

    assert _totals(engineer, claim) == (2, Decimal(0))


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
    _, account = _working(engineer, limit)

    with pytest.raises(BudgetExceeded) as refused:
        account.reserve(bound)

    assert refused.value.details["budget"] == named
    assert not refused.value.retryable


def test_a_call_that_fits_after_other_open_calls_waits(engineer: Engineer) -> None:
    _, account = _working(engineer, Budget(max_tokens=100))
    held = account.reserve(UsageBound(30, 30, Decimal(0)))

    with pytest.raises(BudgetTaken) as wait:
        account.reserve(UsageBound(30, 30, Decimal(0)))
    account.settle(held, Usage(20, 20), Decimal(0))

    assert wait.value.details["retry_after"] > 0
    assert account.reserve(UsageBound(30, 30, Decimal(0))) == 2
    with pytest.raises(BudgetExceeded):
        account.reserve(UsageBound(30, 31, Decimal(0)))


def test_a_model_without_a_price_is_refused_when_the_client_limits_the_cost(engineer: Engineer) -> None:
    _, account = _working(engineer, Budget(is_cost_explicit=True))

    with pytest.raises(PriceUnknown):
        account.reserve(UsageBound(1, 1, None))

    assert account.reserve(UsageBound(1, 1, Decimal("0.1"))) == 1


def test_an_attempt_that_lost_its_lease_may_not_reserve(engineer: Engineer) -> None:
    claim, account = _working(engineer)
    _claim_again(engineer, claim)

    with pytest.raises(Stopped):
        account.reserve(UsageBound(1, 1, None))


def test_a_dead_workers_reservation_is_charged_in_full_when_its_step_is_claimed_again(
    engineer: Engineer,
) -> None:
    claim, account = _working(engineer)
    lost = account.reserve(UsageBound(300, 100, Decimal("0.4")))
    again = _claim_again(engineer, claim)

    ClaimBudgetAccount(engineer.engine, again).reserve(UsageBound(1, 1, Decimal(0)))
    account.settle(lost, Usage(1, 1), Decimal(0))

    assert _totals(engineer, claim) == (400, Decimal("0.4"))
    assert [entry.spent_tokens for entry in _ledger(engineer, claim)] == [400, None]


def test_another_step_is_not_delayed_by_a_dead_workers_reservation(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"), budget=Budget(max_tokens=100))
    dead, alive = engineer.take(task_id, "a"), engineer.take(task_id, "b")
    ClaimBudgetAccount(engineer.engine, dead).reserve(UsageBound(20, 20, Decimal(0)))
    with transaction(engineer.engine) as conn:
        steps.hand_back(conn, dead.id, owner="me", kills=1)

    call = ClaimBudgetAccount(engineer.engine, alive).reserve(UsageBound(30, 30, Decimal(0)))

    assert call == 1
    assert _totals(engineer, alive) == (40, Decimal(0))


def test_the_end_of_a_task_charges_its_open_reservations(engineer: Engineer) -> None:
    claim, account = _working(engineer)
    call = account.reserve(UsageBound(300, 100, Decimal("0.4")))

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=claim.task_id, reason="")
    account.settle(call, Usage(1, 1), Decimal(0))

    assert _totals(engineer, claim) == (400, Decimal("0.4"))
    assert all(entry.settled_at for entry in _ledger(engineer, claim))


def test_sixteen_parallel_calls_do_not_overshoot_by_one_token(engineer: Engineer, crowd: Engine) -> None:
    bound = UsageBound(70, 30, Decimal("0.01"))
    claims = _parallel(engineer, Budget(max_tokens=5 * bound.tokens + 99))
    start = Barrier(PARALLEL)

    def reserve(claim: Claim) -> str:
        start.wait(timeout=30)
        try:
            ClaimBudgetAccount(crowd, claim).reserve(bound)
        except StepError as error:
            return error.code
        return "reserved"

    with ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = Counter(pool.map(reserve, claims))

    assert outcomes == {"reserved": 5, "budget_taken": 11}
    assert sum(entry.reserved_tokens for entry in _ledger(engineer, claims[0])) == 500


def test_sixteen_parallel_spenders_stay_within_both_budgets(engineer: Engineer, crowd: Engine) -> None:
    limit = Budget(max_tokens=6000, max_cost_dollars=Decimal("0.6"))
    claims = _parallel(engineer, limit)

    def spend(claim: Claim) -> int:
        account, chance, waits = ClaimBudgetAccount(crowd, claim), random.Random(claim.id), 0
        while True:
            sent, made = chance.randint(1, 200), chance.randint(1, 100)
            try:
                call = account.reserve(UsageBound(sent, made, Decimal(sent + made) / 10_000))
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

    tokens, cost = _totals(engineer, claims[0])
    ledger = _ledger(engineer, claims[0])
    assert 6000 - 300 < tokens <= 6000
    assert cost is not None
    assert cost <= limit.max_cost_dollars
    assert tokens == sum(entry.spent_tokens or 0 for entry in ledger)
    assert cost == sum(entry.spent_cost or 0 for entry in ledger)
    assert _most_at_once(ledger) <= 6000


def test_using_four_fifths_of_a_budget_gives_one_warning(engineer: Engineer) -> None:
    claim, account = _working(engineer, Budget(max_tokens=100))
    for _ in range(9):
        account.settle(account.reserve(UsageBound(5, 5, Decimal(0))), Usage(5, 5), Decimal(0))

    warnings = [event.payload for event in engineer.events(claim.task_id) if event.type == "budget.warning"]

    assert warnings == [{"budget": "max_tokens", "spent": "80", "limit": "100"}]


def test_waiting_for_room_counts_as_no_failure(engineer: Engineer) -> None:
    claim, _ = _working(engineer)

    postponed = requeue.postpone(engineer.engine, claim, BudgetTaken(details={"retry_after": 0.05}))

    row = engineer.row(claim.task_id, claim.name)
    assert postponed
    assert (row["state"], row["failures"], row["kills"]) == ("queued", 0, 0)
    assert not requeue.postpone(engineer.engine, claim, BudgetTaken())


def test_a_completion_is_charged_and_recorded_in_the_trace_as_fake(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = _working(engineer)
    fake.add(Scripted("yes", input_tokens=12, output_tokens=3))

    answer = _complete(engineer, claim, ModelCaller(fake))

    decisions = _model_decisions(engineer, claim)
    assert answer.text == "yes"
    assert _totals(engineer, claim) == (15, Decimal(0))
    assert (decisions[0]["purpose"], decisions[0]["fake"], decisions[0]["provider"]) == (
        PURPOSE,
        True,
        "openai",
    )
    assert "yes" not in str(decisions)


def test_a_failed_completion_is_recorded_with_all_its_attempts(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = _working(engineer)
    fake.fail(Fault.BAD_JSON)

    with pytest.raises(ModelError):
        _complete(engineer, claim, ModelCaller(fake))

    decisions = _model_decisions(engineer, claim)[0]
    assert (decisions["error"], decisions["attempts"][0]["outcome"]) == (
        "model_answer_broken",
        "model_answer_broken",
    )
    assert 50 < _totals(engineer, claim)[0] < _ledger(engineer, claim)[0].reserved_tokens / 2


def test_a_model_is_not_asked_when_the_budget_is_too_small(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = _working(engineer, Budget(max_tokens=100))

    with pytest.raises(BudgetExceeded):
        _complete(engineer, claim, ModelCaller(fake))

    assert fake.received == []


BROKEN = (Fault.HANG, Fault.RESET, Fault.CUT_BODY)
NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
PROMPT = [Message(Role.SYSTEM, "x" * 5_100), Message(Role.USER, "Hello.")]


@pytest.mark.parametrize("fault", BROKEN)
def test_three_broken_calls_leave_room_for_the_promised_retry(
    engineer: Engineer, fake: FakeLLM, fault: Fault
) -> None:
    claim, _ = _working(engineer)
    caller = ModelCaller(fake, timeout_seconds=0.5)
    fake.fail(*[fault] * 3)

    for _ in range(3):
        with pytest.raises(ModelError):
            _complete(engineer, claim, caller, messages=PROMPT, tokens=1_200)
    answer = _complete(engineer, claim, caller, messages=PROMPT, tokens=1_200)

    first, second = _ledger(engineer, claim)[:2]
    assert answer.text
    assert first.spent_tokens is not None
    assert 1_200 < first.spent_tokens < first.reserved_tokens / 2
    assert second.spent_tokens is not None
    assert first.spent_tokens + second.spent_tokens + first.reserved_tokens <= 10_000


def test_an_estimate_of_money_leaves_room_for_the_retry_too(engineer: Engineer) -> None:
    claim, account = _working(engineer, Budget(max_cost_dollars=Decimal("1"), is_cost_explicit=True))

    account.settle(
        account.reserve(UsageBound(10, 10, Decimal("0.7"))), Usage(5, 5), Decimal("0.6"), is_reported=False
    )

    assert _totals(engineer, claim) == (10, Decimal("0.3"))
    assert account.reserve(UsageBound(10, 10, Decimal("0.7"))) == 2


def test_calls_without_an_answer_cost_nothing(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = _working(engineer)
    for fault in (Fault.HTML, Fault.EMPTY_BODY, Fault.EMPTY_OBJECT):
        fake.fail(fault)
        with pytest.raises(ModelNoAnswer):
            _complete(engineer, claim, ModelCaller(fake, strict=False))

    assert _totals(engineer, claim) == (0, Decimal(0))


def test_an_answer_without_usage_is_charged_by_its_size(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = _working(engineer)
    fake.add(Scripted("yes " * 10, without_usage=True))

    _complete(engineer, claim, ModelCaller(fake, strict=False), messages=PROMPT, tokens=1_200)

    spent = _totals(engineer, claim)[0]
    assert 1_275 < spent < 1_400
    assert spent + _ledger(engineer, claim)[0].reserved_tokens < 10_000


@pytest.mark.parametrize("fault", BROKEN)
def test_a_budget_that_failed_calls_used_up_names_the_first_failure(
    engineer: Engineer, fake: FakeLLM, fault: Fault
) -> None:
    claim, _ = _working(engineer, Budget(max_tokens=1_000))
    caller = ModelCaller(fake, timeout_seconds=0.5)
    fake.fail(fault)
    with pytest.raises(ModelError) as failure:
        _complete(engineer, claim, caller)

    with pytest.raises(BudgetExceeded) as exceeded:
        _complete(engineer, claim, caller, tokens=900)

    code, message = failure.value.code, failure.value.message
    assert exceeded.value.details["earlier_error"] == {"code": code, "message": message}
    assert f"an earlier call: {message} ({code})" in exceeded.value.message
    assert exceeded.value.details["budget"] == "max_tokens"


def test_a_budget_without_room_for_a_correction_names_the_fault(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = _working(engineer, Budget(max_tokens=1_000))
    fake.add(Scripted('{"name": "a\\u0000"}', input_tokens=400, output_tokens=50))

    with pytest.raises(BudgetExceeded, match="holds a NUL character") as exceeded:
        _complete(engineer, claim, ModelCaller(fake), schema=NAMED)

    assert exceeded.value.details["earlier_error"]["code"] == "model_answer_invalid"
    assert exceeded.value.details["budget"] == "max_tokens"


def test_a_budget_of_calls_without_usage_says_that_it_was_estimated(
    engineer: Engineer, fake: FakeLLM
) -> None:
    claim, _ = _working(engineer, Budget(max_tokens=1_000))
    caller = ModelCaller(fake, strict=False)
    fake.add(Scripted("yes", without_usage=True))
    _complete(engineer, claim, caller)

    with pytest.raises(BudgetExceeded, match="reported no usage"):
        _complete(engineer, claim, caller, tokens=950)


def test_a_budget_that_is_too_small_from_the_start_names_no_other_error(
    engineer: Engineer, fake: FakeLLM
) -> None:
    claim, _ = _working(engineer, Budget(max_tokens=1_000))
    fake.fail(Fault.RATE_LIMITED)
    with pytest.raises(ModelError):
        _complete(engineer, claim, ModelCaller(fake))

    with pytest.raises(BudgetExceeded) as exceeded:
        _complete(engineer, claim, ModelCaller(fake), tokens=2_000)

    assert "earlier_error" not in exceeded.value.details


def _working(engineer: Engineer, limit: Budget | None = None) -> tuple[Claim, ClaimBudgetAccount]:
    task_id = engineer.start(wait_step("a"), budget=limit or Budget())
    claim = engineer.take(task_id, "a")
    return claim, ClaimBudgetAccount(engineer.engine, claim)


def _parallel(engineer: Engineer, limit: Budget) -> list[Claim]:
    names = [f"s{number}" for number in range(PARALLEL)]
    task_id = engineer.start(*(wait_step(name) for name in names), budget=limit)
    return [engineer.take(task_id, name) for name in names]


def _claim_again(engineer: Engineer, claim: Claim) -> Claim:
    with transaction(engineer.engine) as conn:
        steps.hand_back(conn, claim.id, owner="me", kills=1)
    return engineer.take(claim.task_id, claim.name, owner="another")


def _complete(
    engineer: Engineer,
    claim: Claim,
    caller: ModelCaller,
    *,
    messages: Sequence[Message] = HELLO,
    tokens: int = 50,
    schema: Mapping[str, Any] | None = None,
) -> Completion:
    request = CompletionRequest(messages, PURPOSE, tokens, time.monotonic() + 5, schema)

    def ask(budget: BudgetAccount) -> Completion:
        return caller.models.complete(request, budget=budget)

    return metered_calls.complete(ClaimBudgetAccount(engineer.engine, claim), ask, purpose=PURPOSE)


def _model_decisions(engineer: Engineer, claim: Claim) -> list[dict[str, Any]]:
    with statement(engineer.engine) as conn:
        return [item.payload for item in events.trace(conn, claim.task_id) if item.kind == "model"]


def _ledger(engineer: Engineer, claim: Claim) -> list[LedgerEntry]:
    with statement(engineer.engine) as conn:
        return budget.entries(conn, claim.task_id)


def _totals(engineer: Engineer, claim: Claim) -> tuple[int, Decimal | None]:
    task = engineer.task(claim.task_id)
    return task.tokens_used, task.cost_dollars


def _most_at_once(ledger: list[LedgerEntry]) -> int:
    """Return the highest sum of spent and reserved tokens at any time in the ledger."""
    moves = [(entry.reserved_at, entry.reserved_tokens) for entry in ledger]
    moves += [
        (entry.settled_at, (entry.spent_tokens or 0) - entry.reserved_tokens)
        for entry in ledger
        if entry.settled_at
    ]
    level = most = 0
    for _, change in sorted(moves, key=lambda move: (move[0], move[1])):
        level += change
        most = max(most, level)
    return most

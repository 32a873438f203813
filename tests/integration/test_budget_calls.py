"""Calls to models are charged to the task's budget by what they used, or probably used, and named when it ends."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from orchestrator.llm.completion import UsageBound
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import Usage
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.model_errors import ModelError, ModelNoAnswer
from orchestrator.models.task_contract import Budget
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.integration.budget_kit import complete, ledger, model_decisions, reserve, totals, working
from tests.integration.kit import Engineer
from tests.llm_kit import PURPOSE, ModelCaller


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def test_a_completion_is_charged_and_recorded_in_the_trace_as_fake(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = working(engineer)
    fake.add(Scripted("yes", input_tokens=12, output_tokens=3))

    answer = complete(engineer, claim, ModelCaller(fake))

    decisions = model_decisions(engineer, claim)
    assert answer.text == "yes"
    assert totals(engineer, claim) == (15, Decimal(0))
    assert (decisions[0]["purpose"], decisions[0]["fake"], decisions[0]["provider"]) == (
        PURPOSE,
        True,
        "openai",
    )
    assert "yes" not in str(decisions)


def test_a_failed_completion_is_recorded_with_all_its_attempts(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = working(engineer)
    fake.fail(Fault.BAD_JSON)

    with pytest.raises(ModelError):
        complete(engineer, claim, ModelCaller(fake))

    decisions = model_decisions(engineer, claim)[0]
    assert (decisions["error"], decisions["attempts"][0]["outcome"]) == (
        "model_answer_broken",
        "model_answer_broken",
    )
    assert 5 < totals(engineer, claim)[0] < ledger(engineer, claim)[0].reserved_tokens / 2


def test_a_model_is_not_asked_when_the_budget_is_too_small(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = working(engineer, Budget(max_tokens=100))

    with pytest.raises(BudgetExceeded):
        complete(engineer, claim, ModelCaller(fake))

    assert fake.received == []


BROKEN = (Fault.HANG, Fault.RESET, Fault.CUT_BODY)
NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
PROMPT = [Message(Role.SYSTEM, "The plan of an arm is made of steps. " * 140), Message(Role.USER, "Hello.")]


@pytest.mark.parametrize("fault", BROKEN)
def test_three_broken_calls_leave_room_for_the_promised_retry(
    engineer: Engineer, fake: FakeLLM, fault: Fault
) -> None:
    claim, _ = working(engineer, Budget(max_tokens=10_000))
    caller = ModelCaller(fake, timeout_seconds=0.5, tokens=16_000)
    fake.fail(*[fault] * 3)

    for _ in range(3):
        with pytest.raises(ModelError):
            complete(engineer, claim, caller, messages=PROMPT)
    answer = complete(engineer, claim, caller, messages=PROMPT)

    assert answer.text
    for broken in ledger(engineer, claim)[:3]:
        assert broken.reserved_tokens > 4_000
        assert 1_300 < (broken.spent_tokens or 0) < 2_000
    assert totals(engineer, claim)[0] < 10_000


def test_an_estimate_is_charged_up_to_what_is_reserved(engineer: Engineer) -> None:
    claim, account = working(engineer, Budget(is_cost_explicit=True))

    likely, high = (reserve(account, UsageBound(10, 10, Decimal("0.3"))) for _ in range(2))
    account.settle(likely, Usage(5, 6), Decimal("0.2"), is_reported=False)
    account.settle(high, Usage(50, 50), Decimal("0.9"), is_reported=False)

    assert totals(engineer, claim) == (11 + 20, Decimal("0.5"))


def test_calls_without_an_answer_cost_nothing(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = working(engineer)
    for fault in (Fault.HTML, Fault.EMPTY_BODY, Fault.EMPTY_OBJECT):
        fake.fail(fault)
        with pytest.raises(ModelNoAnswer):
            complete(engineer, claim, ModelCaller(fake, strict=False))

    assert totals(engineer, claim) == (0, Decimal(0))


def test_an_answer_without_usage_is_charged_by_its_size(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = working(engineer)
    fake.add(Scripted("yes " * 10, without_usage=True))

    complete(engineer, claim, ModelCaller(fake, strict=False, tokens=1_200), messages=PROMPT)

    assert 1_300 < totals(engineer, claim)[0] < 2_000


@pytest.mark.parametrize("fault", BROKEN)
def test_a_budget_that_failed_calls_used_up_names_the_first_failure(
    engineer: Engineer, fake: FakeLLM, fault: Fault
) -> None:
    claim, _ = working(engineer, Budget(max_tokens=1_000))
    caller = ModelCaller(fake, timeout_seconds=0.5)
    fake.fail(fault)
    with pytest.raises(ModelError) as failure:
        complete(engineer, claim, caller)

    with pytest.raises(BudgetExceeded) as exceeded:
        complete(engineer, claim, ModelCaller(fake, tokens=900))

    code, message = failure.value.code, failure.value.message
    assert exceeded.value.details["earlier_error"] == {"code": code, "message": message}
    assert f"an earlier call: {message} ({code})" in exceeded.value.message
    assert exceeded.value.details["budget"] == "max_tokens"


def test_a_budget_without_room_for_a_correction_names_the_fault(engineer: Engineer, fake: FakeLLM) -> None:
    claim, _ = working(engineer, Budget(max_tokens=1_000))
    fake.add(Scripted('{"name": "a\\u0000"}', input_tokens=400, output_tokens=50))

    with pytest.raises(BudgetExceeded, match="holds a NUL character") as exceeded:
        complete(engineer, claim, ModelCaller(fake), schema=NAMED)

    assert exceeded.value.details["earlier_error"]["code"] == "model_answer_invalid"
    assert exceeded.value.details["budget"] == "max_tokens"


def test_a_budget_of_calls_without_usage_says_that_it_was_estimated(
    engineer: Engineer, fake: FakeLLM
) -> None:
    claim, _ = working(engineer, Budget(max_tokens=1_000))
    caller = ModelCaller(fake, strict=False)
    fake.add(Scripted("yes", without_usage=True))
    complete(engineer, claim, caller)

    with pytest.raises(BudgetExceeded, match="reported no usage"):
        complete(engineer, claim, ModelCaller(fake, tokens=950))


def test_a_budget_that_is_too_small_from_the_start_names_no_other_error(
    engineer: Engineer, fake: FakeLLM
) -> None:
    claim, _ = working(engineer, Budget(max_tokens=1_000))
    fake.fail(Fault.RATE_LIMITED)
    with pytest.raises(ModelError):
        complete(engineer, claim, ModelCaller(fake))

    with pytest.raises(BudgetExceeded) as exceeded:
        complete(engineer, claim, ModelCaller(fake, tokens=2_000))

    assert "earlier_error" not in exceeded.value.details

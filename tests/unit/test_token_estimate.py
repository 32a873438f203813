"""The tokens that a call reserves: never fewer than a tokenizer may make of its text, and fewer than its bytes."""

import base64
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.llm.completion import UsageBound
from orchestrator.llm.gate import Rates
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import FinishReason, ModelRequest, Usage
from orchestrator.llm.token_estimate import OVERHEAD_TOKENS, ModelUsage, input_bound, likely_input
from orchestrator.models.model_work import Work
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import ModelCaller

ROOT = Path(__file__).parents[2]
DICE = random.Random(1)
# {text: the most tokens that cl100k_base and o200k_base (bpe-openai 0.1.4) make of it}
COUNTED = {
    "x " * 5_000: 5_000,
    "x\n" * 5_000: 10_000,
    " \t" * 5_000: 5_000,
    "   a b    c " * 900: 4_500,
    "Ուշացած առաքումը լիովին փոխհատուցվում է երեք օրվա ընթացքում։ " * 50: 5_700,
    "დაგვიანებული მიწოდება სრულად ანაზღაურდება სამ დღეში. " * 50: 4_951,
    "延迟交付将全额退款，退款需要三天时间。买方会收到邮件通知。" * 50: 1_501,
}
# one byte a token: no text is worse
WORST = ("ABC", "0123456789", "\n", "\t{}[]<>", "qxzjkvw", "\x01\x02", "ሀሁሂ", "🐙🦑", "\udcff")


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


class Ledger:
    """A budget of one limit, as the ledger keeps it: records the truth, and refuses what does not fit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0

    def reserve(self, bounds: Sequence[UsageBound]) -> tuple[int, UsageBound]:
        return 1, next(bound for bound in bounds if self.spent + bound.tokens <= self.limit)

    def settle(self, call: int, usage: Usage | None, dollars: object, *, is_reported: bool = True) -> None:
        assert usage is not None
        self.spent += usage.tokens


@pytest.mark.parametrize("text", COUNTED)
def test_no_tokenizer_makes_more_tokens_of_a_text_than_a_call_reserves(text: str) -> None:
    assert COUNTED[text] <= _likely(text) <= len(text.encode())


@pytest.mark.parametrize("unit", WORST)
def test_a_text_that_may_have_a_token_for_each_byte_is_reserved_by_its_bytes(unit: str) -> None:
    assert _likely(unit * 100) == len((unit * 100).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("path", "bytes_a_token"),
    [("docs/architecture.md", 1.6), ("orchestrator/llm/model_chain.py", 1.6)],
)
def test_english_and_code_are_reserved_at_most_by_two_thirds_of_their_bytes(
    path: str, bytes_a_token: float
) -> None:
    text = (ROOT / path).read_text("utf-8")

    assert len(text.encode()) / _likely(text) > bytes_a_token


@given(st.text(max_size=300))
def test_an_estimate_is_at_least_half_of_the_bound_and_never_above_it(text: str) -> None:
    request = _request(text)

    assert (input_bound(request) - OVERHEAD_TOKENS) / 2 <= likely_input(request) <= input_bound(request)


def test_random_bytes_in_base64_are_reserved_above_the_tokens_that_were_counted() -> None:
    text = base64.b64encode(DICE.randbytes(20_000)).decode()

    # 1.39 bytes a token in cl100k_base
    assert _likely(text) > len(text) / 1.39


def test_a_model_that_once_counted_more_than_reserved_reserves_more_from_then_on() -> None:
    request, learned = _request("the plan of an arm " * 50), ModelUsage()
    before = learned.reserved_input(request)

    learned.learn(request, Usage(2 * (before - OVERHEAD_TOKENS), 10), seconds=1)
    after = learned.reserved_input(request)
    learned.learn(request, Usage(100, 10), seconds=1)

    assert before < after == learned.reserved_input(request) <= input_bound(request)


def test_a_call_that_timed_out_is_charged_by_what_the_model_writes_in_that_time() -> None:
    # the trial's call: 5,659 bytes of prompt, 30 s; it was charged 6,859
    request, learned = _request("A step of a plan. " * 314, output=16_000), ModelUsage()

    first = learned.expected_usage(request, None, seconds=30)
    for _ in range(20):
        learned.learn(request, Usage(1_400, 1_000), seconds=5)
    later = learned.expected_usage(request, None, seconds=30)

    assert first.tokens < 3_700
    assert 1_300 < later.input_tokens < 1_500
    assert 5_500 < later.output_tokens <= 6_000
    assert learned.expected_usage(request, None, seconds=10**6).output_tokens == 16_000


def test_a_budget_that_is_nearly_spent_gives_a_shorter_answer_before_it_gives_none(fake: FakeLLM) -> None:
    budget = Ledger(10_000)
    caller = ModelCaller(fake, tokens=16_000)
    fake.add(*[Scripted("yes", input_tokens=1_500, output_tokens=306)] * 9)

    with pytest.raises(StopIteration):
        _spend(budget, caller, "A step of a plan. " * 314, Work.PLAN)

    limits = [request.body["max_completion_tokens"] for request in fake.received]
    assert limits == [4_000, 4_000, 2_000]
    assert budget.spent == 3 * 1_806


@pytest.mark.parametrize("unit", WORST[:-1])
def test_texts_with_a_token_for_each_byte_never_overspend(fake: FakeLLM, unit: str) -> None:
    text = unit * (2_500 // len(unit.encode()))
    budget = Ledger(10_000)
    worst = Scripted("yes", input_tokens=len(text.encode()) + 20, output_tokens=700, stays=True)
    fake.add(worst)

    with pytest.raises(StopIteration):
        _spend(budget, ModelCaller(fake, tokens=4_000), text, Work.ANSWER)

    assert 10_000 - len(text.encode()) - 512 - 700 < budget.spent <= 10_000


def test_json_of_a_schema_counts_too() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    plain, with_schema = _request("a"), ModelRequest([Message(Role.USER, "a")], 10, 0.0, schema=schema)

    assert input_bound(with_schema) - input_bound(plain) == len(json.dumps(schema, separators=(",", ":")))
    assert likely_input(with_schema) > likely_input(plain)


def test_the_rate_limit_counts_the_tokens_that_a_call_is_expected_to_use(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, tokens=16_000, rates=Rates(tokens=2_100))

    assert [caller.ask(work=Work.PLAN).finish for _ in range(2)] == [FinishReason.STOP] * 2


def _spend(budget: Ledger, caller: ModelCaller, text: str, work: Work) -> None:
    """Ask until the budget refuses."""
    while True:
        caller.ask(budget=budget, work=work, messages=[Message(Role.USER, text)])


def _request(text: str, *, output: int = 100) -> ModelRequest:
    return ModelRequest([Message(Role.USER, text)], output, 0.0)


def _likely(text: str) -> int:
    return likely_input(_request(text)) - likely_input(_request(""))

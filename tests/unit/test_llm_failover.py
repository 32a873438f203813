"""The chain of models: which model is asked, which errors fail over, and what calls cost."""

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest

from orchestrator.llm import cancellation, model_chain
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.completion import Completion, CompletionRequest, UsageBound
from orchestrator.llm.gate import FallbackGate, Policy, Rates
from orchestrator.llm.pricing import Prices
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import Usage
from orchestrator.llm.token_estimate import OVERHEAD_TOKENS
from orchestrator.models import errors, model_errors
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.model_choice import ModelName, Price, parse_chain
from orchestrator.models.model_errors import ModelError
from orchestrator.models.model_work import Work, parse_output_tokens
from orchestrator.settings import Settings
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import HELLO, ModelCaller

CHAIN = ("anthropic:fake-first", "openai:fake-second")
SONNET = ModelName("anthropic", "claude-sonnet-5-5")


class BudgetAccount:
    """A budget account that records its calls."""

    def __init__(self, *, empty: bool = False) -> None:
        self.empty = empty
        self.reserved: list[UsageBound] = []
        self.settled: list[tuple[int, Usage | None, Decimal | None]] = []
        self.told: list[bool] = []

    def reserve(self, bounds: Sequence[UsageBound]) -> tuple[int, UsageBound]:
        if self.empty:
            raise BudgetExceeded()
        self.reserved.append(bounds[0])
        return len(self.reserved), bounds[0]

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_reported: bool = True
    ) -> None:
        self.settled.append((call, usage, dollars))
        self.told.append(is_reported)


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.OVERLOADED, "model_unavailable"),
        (Fault.RATE_LIMITED, "model_rate_limited"),
        (Fault.BAD_JSON, "model_answer_broken"),
        (Fault.RESET, "model_connection_lost"),
        (Fault.UNAUTHORISED, "model_unauthorised"),
        (Fault.INSUFFICIENT_QUOTA, "model_quota_exhausted"),
        (Fault.NOT_FOUND, "model_unknown"),
    ],
)
def test_the_next_model_answers_and_the_record_says_why(fake: FakeLLM, fault: Fault, code: str) -> None:
    fake.fail(fault)

    answer = ModelCaller(fake, CHAIN).ask()

    assert (answer.provider, answer.model) == ("openai", "fake-second")
    assert [(attempt.provider, attempt.outcome) for attempt in answer.attempts] == [
        ("anthropic", code),
        ("openai", "ok"),
    ]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.REFUSAL, model_errors.ModelRefused), (Fault.TOO_LARGE, model_errors.ModelRequestRejected)],
)
def test_after_a_refusal_or_a_rejected_request_no_other_model_is_asked(
    fake: FakeLLM, fault: Fault, kind: type[ModelError]
) -> None:
    fake.fail(fault)

    with pytest.raises(kind) as refused:
        ModelCaller(fake, CHAIN).ask()

    assert not refused.value.retryable
    assert [request.path for request in fake.received] == ["/v1/messages"]
    assert refused.value.details["attempts"][0]["outcome"] == kind.code


def test_a_hanging_model_leaves_time_for_the_next(fake: FakeLLM) -> None:
    fake.fail(Fault.HANG)

    answer = ModelCaller(fake, CHAIN, timeout_seconds=1).ask(seconds=10)

    assert [attempt.outcome for attempt in answer.attempts] == ["model_timeout", "ok"]
    assert answer.attempts[0].dollars is None


def test_no_model_is_asked_after_the_deadline(fake: FakeLLM) -> None:
    fake.fail(Fault.HANG)

    with pytest.raises(model_errors.ModelTimeout) as late:
        ModelCaller(fake, CHAIN).ask(seconds=0.3)

    assert len(late.value.details["attempts"]) == 1


def test_if_all_models_fail_the_error_says_whether_to_retry(fake: FakeLLM) -> None:
    fake.fail(Fault.UNAUTHORISED, Fault.OVERLOADED)

    with pytest.raises(model_errors.ModelUnavailable) as vain:
        ModelCaller(fake, CHAIN).ask()

    outcomes = [attempt["outcome"] for attempt in vain.value.details["attempts"]]
    assert outcomes == ["model_unauthorised", "model_unavailable"]


def test_without_a_model_there_is_an_error_and_no_fake_answer(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, ())

    assert not caller.models.is_configured
    with pytest.raises(model_errors.NoModel):
        caller.ask()


def test_avoided_providers_are_asked_last(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, CHAIN)

    assert caller.ask(avoid=["anthropic"]).provider == "openai"
    assert caller.ask(avoid=["anthropic", "openai"]).provider == "anthropic"


def test_an_open_breaker_stops_calls_to_the_model(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, CHAIN, gate=FallbackGate(Policy(failures=3)))
    fake.fail(*[Fault.OVERLOADED] * 3, match="fake-first")
    for _ in range(3):
        caller.ask()

    answer = caller.ask()

    assert [attempt.outcome for attempt in answer.attempts] == ["open", "ok"]
    assert len([request for request in fake.received if request.path == "/v1/messages"]) == 3
    assert caller.attempts[-2].breaker == "open"


@pytest.mark.parametrize("fault", [Fault.REFUSAL, Fault.TOO_LARGE, Fault.UNAUTHORISED, Fault.RATE_LIMITED])
def test_errors_that_the_model_did_not_cause_do_not_open_its_breaker(fake: FakeLLM, fault: Fault) -> None:
    caller = ModelCaller(fake, gate=FallbackGate(Policy(failures=2)))
    fake.fail(*[fault] * 4, retry_after="0")
    for _ in range(4):
        with pytest.raises(ModelError):
            caller.ask()

    assert caller.ask().text


def test_a_short_deadline_of_ours_does_not_count_against_the_model(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, gate=FallbackGate(Policy(failures=1)), timeout_seconds=30)
    fake.fail(Fault.HANG)
    with pytest.raises(model_errors.ModelTimeout):
        caller.ask(seconds=0.1)

    assert caller.ask().text


def test_a_providers_pause_applies_to_all_callers(fake: FakeLLM) -> None:
    gate = FallbackGate(Policy())
    fake.fail(Fault.RATE_LIMITED, retry_after="40")
    with pytest.raises(model_errors.ModelRateLimited):
        ModelCaller(fake, gate=gate).ask()

    with pytest.raises(model_errors.ModelBusy) as busy:
        ModelCaller(fake, gate=gate).ask()

    assert 10 < busy.value.details["retry_after"] <= 40
    assert busy.value.details["reason"] == "paused"
    assert len(fake.received) == 1


def test_a_used_up_rate_limit_is_an_error_with_retry_after_and_no_sleep(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, rates=Rates(requests=2))
    caller.ask()
    caller.ask()

    with pytest.raises(model_errors.ModelBusy) as busy:
        caller.ask()

    assert 10 < busy.value.details["retry_after"] <= 60
    assert busy.value.retryable


def test_a_started_conversation_ignores_the_rate_limit(fake: FakeLLM) -> None:
    fake.answer("wrong", {"a": 1})

    answer = ModelCaller(fake, rates=Rates(requests=1)).ask({"type": "object", "required": ["a"]})

    assert answer.value == {"a": 1}


def test_every_call_is_reserved_before_and_settled_by_its_usage_afterwards(fake: FakeLLM) -> None:
    budget = BudgetAccount()
    fake.add(
        Scripted("wrong", input_tokens=10, output_tokens=2),
        Scripted('{"a": 1}', input_tokens=30, output_tokens=4),
    )

    ModelCaller(fake).ask({"type": "object", "required": ["a"]}, budget=budget)

    assert [(call, usage and usage.tokens) for call, usage, _ in budget.settled] == [(1, 12), (2, 34)]
    assert all(bound.output_tokens == 100 for bound in budget.reserved)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.RESET, Fault.BAD_JSON])
def test_a_call_without_reported_usage_is_charged_an_estimate(fake: FakeLLM, fault: Fault) -> None:
    budget = BudgetAccount()
    fake.fail(fault)

    with pytest.raises(ModelError):
        ModelCaller(fake).ask(budget=budget, seconds=1)

    call, usage, _ = budget.settled[0]
    assert (call, budget.told) == (1, [False])
    assert usage is not None
    assert 0 < usage.input_tokens < budget.reserved[0].input_tokens
    # 50 tokens for each second of at most one
    assert usage.output_tokens <= 55


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.OVERLOADED, Fault.UNAUTHORISED])
def test_a_call_that_the_provider_rejected_is_free(fake: FakeLLM, fault: Fault) -> None:
    budget = BudgetAccount()
    fake.fail(fault)

    with pytest.raises(ModelError):
        ModelCaller(fake).ask(budget=budget)

    assert budget.settled == [(1, Usage(), Decimal(0))]


def test_without_budget_nothing_is_sent_and_the_rate_limit_is_released(fake: FakeLLM) -> None:
    caller = ModelCaller(fake, CHAIN, rates=Rates(requests=1))

    for _ in range(3):
        with pytest.raises(BudgetExceeded):
            caller.ask(budget=BudgetAccount(empty=True))

    assert fake.received == []
    assert caller.ask().text


def test_the_reserved_bound_is_at_least_the_actual_usage(fake: FakeLLM) -> None:
    budget = BudgetAccount()
    words = [Message(Role.USER, "žluťoučký kůň 🐎")]

    ModelCaller(fake).ask(budget=budget, messages=words)

    assert budget.reserved[0].input_tokens >= len(words[0].text.encode()) + OVERHEAD_TOKENS


def test_cached_tokens_are_part_of_the_input_in_a_known_price() -> None:
    cost = Prices().cost(SONNET, Usage(1000, 500, cached_tokens=200))

    assert cost == Decimal("0.00662")


@pytest.mark.parametrize("model", ["openai:llama3.3", "openai:gpt-99-nonesuch", "anthropic:my-finetune"])
def test_an_unknown_price_is_none_and_never_zero(model: str) -> None:
    name = ModelName(*model.split(":"))

    assert Prices().cost(name, Usage(1000, 500)) is None
    assert Prices().bound(name, input_tokens=1, output_tokens=1).dollars is None


def test_the_operators_own_price_takes_precedence() -> None:
    own = Prices({str(SONNET): Price(Decimal(1), Decimal(2), Decimal("0.5"))})

    assert own.cost(SONNET, Usage(1_000_000, 1_000_000, cached_tokens=500_000)) == Decimal("2.75")


def test_the_bound_of_a_cost_covers_writing_to_a_cache() -> None:
    bound = Prices().bound(SONNET, input_tokens=1000, output_tokens=500)

    assert bound.dollars is not None
    assert bound.dollars >= Prices().cost(SONNET, Usage(1000, 500, cache_write_tokens=1000))


def test_a_fake_model_costs_nothing_even_if_its_name_has_a_price(fake: FakeLLM) -> None:
    answer: Completion = ModelCaller(fake, ["anthropic:claude-sonnet-5-5"]).ask()

    assert answer.is_fake
    assert answer.dollars == 0
    assert answer.to_record()["fake"] is True


def test_models_are_opened_according_to_the_settings(fake: FakeLLM) -> None:
    environ = {"OPENAI_BASE_URL": "", "OPENAI_ORG_ID": " ", "ANTHROPIC_AUTH_TOKEN": "", "PATH": ""}
    chosen = _settings(
        openai_base_url=fake.openai_url,
        anthropic_api_key="k",
        anthropic_base_url=fake.anthropic_url,
        llm_chain=(ModelName("openai", "local"), ModelName("anthropic", "big")),
        llm_rpm={"*": 1, "openai:local": 2},
        llm_output_tokens=parse_output_tokens("50"),
        llm_extra_body={"openai:local": {"reasoning_effort": "low"}},
    )

    models = _open(chosen, environ)
    answers = [_complete(models) for _ in range(3)]

    assert environ == {"PATH": ""}
    assert models.providers == ("openai", "anthropic")
    assert [answer.provider for answer in answers] == ["openai", "openai", "anthropic"]
    sent = fake.received[0].body
    assert (sent["reasoning_effort"], sent["max_tokens"]) == ("low", 50)


def test_openai_itself_gets_the_newer_name_of_the_output_limit(fake: FakeLLM) -> None:
    chosen = _settings(
        openai_base_url=fake.openai_url,
        llm_chain=(ModelName("openai", "m"),),
        llm_flavour="openai",
        llm_output_tokens=parse_output_tokens("plan=7000, answer=50"),
    )

    _complete(_open(chosen, {}))

    assert fake.received[0].body["max_completion_tokens"] == 50


def _open(chosen: Settings, environ: dict[str, str]) -> model_chain.ModelChain:
    return model_chain.open_models(
        chosen, gate=FallbackGate(), observe=lambda _: None, environ=environ, learned=LearnedFacts()
    )


def _settings(**chosen: object) -> Settings:
    return Settings(
        database_url="postgresql://x",
        redis_url="redis://x",
        jwt_secret="x" * 40,
        **chosen,  # type: ignore[arg-type]  # keywords of the test
    )


def _complete(models: model_chain.ModelChain) -> Completion:
    return models.complete(CompletionRequest(HELLO, "t@1.0.0", Work.ANSWER, deadline=time.monotonic() + 5))


def test_a_chain_needs_its_providers_keys() -> None:
    with pytest.raises(errors.SettingsError, match="ANTHROPIC_API_KEY"):
        _settings(llm_chain=parse_chain("anthropic:m"))


def test_an_api_key_alone_selects_the_registrys_default_model() -> None:
    assert [name.provider for name in _settings(openai_api_key="k", anthropic_api_key="k").models] == [
        "anthropic",
        "openai",
    ]
    assert _settings().models == ()


def test_a_cancelled_call_is_closed_and_no_other_model_is_asked(fake: FakeLLM) -> None:
    fake.fail(Fault.HANG)
    caller = ModelCaller(fake, CHAIN)
    began = time.monotonic()

    # the task ends when the server has the request
    with pytest.raises(errors.Stopped) as stopped, cancellation.cancellable(lambda: bool(fake.received)):
        caller.ask(seconds=10)

    assert time.monotonic() - began < 5
    assert not isinstance(stopped.value, Exception)
    assert [attempt["outcome"] for attempt in stopped.value.details["attempts"]] == ["cancelled"]
    assert len(fake.received) == 1


def test_a_cancellable_call_that_is_not_cancelled_succeeds(fake: FakeLLM) -> None:
    fake.fail(Fault.DRIP)

    with pytest.raises(model_errors.ModelTimeout), cancellation.cancellable(lambda: False):
        ModelCaller(fake, CHAIN[:1]).ask(seconds=1)

    with cancellation.cancellable(lambda: False):
        assert ModelCaller(fake, CHAIN).ask().text

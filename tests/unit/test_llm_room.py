"""The room of an answer: output limits by kind of work and model, reasoning included, and what follows a cut one."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.completion import CompletionRequest
from orchestrator.llm.gate import FallbackGate
from orchestrator.llm.model_chain import ModelChain, open_models
from orchestrator.models import model_errors
from orchestrator.models.errors import SettingsError
from orchestrator.models.model_choice import ModelName
from orchestrator.models.model_limits import ModelLimits, limits_of, output_limit
from orchestrator.models.model_work import ModelPreferences, Work, parse_efforts, parse_output_tokens
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import HELLO, PURPOSE, ModelCaller

PROVIDERS = ("openai", "anthropic")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
GOOD = {"name": "a"}
NEEDED = {
    "DATABASE_URL": "postgresql://db/octollm",
    "REDIS_URL": "redis://cache/0",
    "JWT_SECRET": "s3cret" * 8,
    "OCTOLLM_HOME": "/nonexistent",
}
# the trial's model: 1,500 tokens of reasoning before each answer
THOUGHTFUL = Scripted(json.dumps(GOOD), thinking_tokens=1_500)
LARGE = ModelLimits(200_000, 64_000, has_effort=True)


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("work", [work for work in Work if work is not Work.SAME_TASK])
def test_a_model_that_reasons_for_1500_tokens_answers_within_the_usual_room(
    fake: FakeLLM, name: str, work: Work
) -> None:
    fake.add(THOUGHTFUL)

    answer = ModelCaller(fake, [f"{name}:fake-model"], tokens=None).ask(SCHEMA, work=work)

    assert (answer.value, len(answer.attempts)) == (GOOD, 1)
    assert answer.usage.output_tokens > 1_500


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_cut_answer_is_tried_once_with_a_larger_limit_which_is_kept(fake: FakeLLM, name: str) -> None:
    caller = ModelCaller(fake, [f"{name}:fake-model"], tokens=1_000)
    fake.add(*[THOUGHTFUL] * 3)

    first, second = caller.ask(SCHEMA), caller.ask(SCHEMA)
    caller.ask(SCHEMA, work=Work.PLAN)

    assert first.value == second.value == GOOD
    assert [attempt.outcome for attempt in first.attempts] == ["model_answer_cut", "ok"]
    assert [_limit(fake, number) for number in range(4)] == [1_000, 4_000, 4_000, 1_000]


def test_a_model_that_is_cut_twice_is_followed_by_the_next(fake: FakeLLM) -> None:
    fake.add(*[Scripted("", thinking_tokens=10**6)] * 2)

    answer = ModelCaller(fake, ["anthropic:fake-first", "openai:fake-second"]).ask(SCHEMA)

    assert answer.provider == "openai"
    assert [attempt.outcome for attempt in answer.attempts] == ["model_answer_cut"] * 2 + ["ok"]


def test_the_error_of_a_cut_answer_names_the_setting(fake: FakeLLM) -> None:
    limits = {"openai:fake-model": ModelLimits(200_000, 20_000)}
    fake.add(*[Scripted("", thinking_tokens=10**6)] * 2)

    with pytest.raises(model_errors.ModelAnswerCut) as cut:
        ModelCaller(fake, tokens=None, limits=limits).ask(SCHEMA, work=Work.PLAN)

    assert "does not fit into 20000 tokens, its reasoning included" in cut.value.message
    assert "LLM_OUTPUT_TOKENS for plan" in cut.value.message
    assert [_limit(fake, number) for number in range(2)] == [16_000, 20_000]


def test_a_server_without_room_for_the_larger_limit_leaves_the_error_of_the_cut(fake: FakeLLM) -> None:
    fake.add(Scripted("", thinking_tokens=200), *[Scripted(fault=Fault.TOO_LARGE)] * 3)

    with pytest.raises(model_errors.ModelAnswerCut, match="does not fit into 100 tokens"):
        ModelCaller(fake).ask(SCHEMA)


def test_output_limits_follow_the_model_and_the_operator() -> None:
    small, unknown = ModelLimits(8_192, 2_048), ModelLimits()

    assert output_limit(Work.PLAN, LARGE) == 16_000
    assert output_limit(Work.ANSWER, LARGE) == 8_000
    assert output_limit(Work.PLAN, small) == 2_048
    assert output_limit(Work.PLAN, unknown) == 4_096
    assert output_limit(Work.SAME_TASK, unknown) == 2_000
    assert output_limit(Work.PLAN, unknown, chosen=30_000) == 30_000
    assert output_limit(Work.PLAN, small, chosen=30_000) == 2_048


def test_the_output_limit_leaves_room_for_the_input_in_a_small_context_window(fake: FakeLLM) -> None:
    limits = {"openai:fake-model": ModelLimits(2_000, 2_000)}

    ModelCaller(fake, tokens=None, limits=limits).ask(work=Work.PLAN)

    assert 1_200 < _limit(fake, 0) < 2_000 - 512


@pytest.mark.parametrize(
    ("model", "output", "has_effort"),
    [
        ("anthropic:claude-sonnet-5-5", 64_000, True),
        ("anthropic:claude-haiku-5-5", 64_000, False),
        ("anthropic:claude-3-5-sonnet-latest", 8_192, False),
        ("openai:gpt-6-sol", 128_000, True),
        ("openai:gpt-4o-mini", 16_384, False),
        ("openai:llama3.3", None, False),
        ("own:gpt-6-sol", None, False),
    ],
)
def test_the_registry_knows_the_limits_of_the_providers_models(
    model: str, output: int | None, has_effort: bool
) -> None:
    found = limits_of(ModelName(*model.split(":")))

    assert (found.output_tokens, found.has_effort) == (output, has_effort)


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_effort_is_sent_by_kind_of_work_to_models_that_have_one(fake: FakeLLM, name: str) -> None:
    chosen = ModelPreferences(efforts=parse_efforts("plan=high, judge=low"))
    model = f"{name}:fake-model"
    caller = ModelCaller(fake, [model], preferences=chosen, limits={model: LARGE})
    for work in (Work.PLAN, Work.JUDGE, Work.ANSWER):
        caller.ask(SCHEMA, work=work)
    ModelCaller(fake, [model], preferences=chosen).ask(SCHEMA, work=Work.PLAN)

    bodies = [request.body for request in fake.received]

    if name == "openai":
        assert [body.get("reasoning_effort") for body in bodies] == ["high", "low", None, None]
    else:
        assert [body["output_config"].get("effort") for body in bodies] == ["high", "low", None, None]
        assert all(body["output_config"]["format"]["type"] == "json_schema" for body in bodies)


@pytest.mark.parametrize("name", PROVIDERS)
def test_extra_parameters_are_merged_member_by_member(fake: FakeLLM, name: str) -> None:
    extra: dict[str, Any] = {"top_k": 7}
    if name == "anthropic":
        extra["output_config"] = {"effort": "low"}
    else:
        extra["response_format"] = {"json_schema": {"name": "n"}}
    environ = {"OPENAI_BASE_URL": fake.openai_url, "ANTHROPIC_BASE_URL": fake.anthropic_url}
    environ |= {"LLM_CHAIN": f"{name}:m", "LLM_EXTRA_BODY": json.dumps({f"{name}:m": extra})}

    _open(environ).complete(CompletionRequest(HELLO, PURPOSE, Work.PLAN, time.monotonic() + 10, SCHEMA))

    body = fake.received[0].body
    assert body["top_k"] == 7
    if name == "anthropic":
        assert body["output_config"]["effort"] == "low"
        assert body["output_config"]["format"]["schema"]["required"] == ["name"]
    else:
        assert body["response_format"]["type"] == "json_schema"
        assert body["response_format"]["json_schema"]["name"] == "n"
        assert body["response_format"]["json_schema"]["schema"]["required"] == ["name"]


def test_each_kind_of_work_has_its_models(fake: FakeLLM) -> None:
    environ = {"OPENAI_BASE_URL": fake.openai_url, "ANTHROPIC_BASE_URL": fake.anthropic_url}
    environ |= {"LLM_CHAIN": "openai:small", "PLANNER_MODELS": "anthropic:large,openai:small"}
    environ |= {"CODER_MODELS": "openai:code", "JUDGE_MODELS": "openai:just"}
    models = _open(environ)

    asked = {
        work: models.complete(CompletionRequest(HELLO, PURPOSE, work, time.monotonic() + 10)).model
        for work in Work
    }
    fake.fail(Fault.OVERLOADED)
    instead = models.complete(CompletionRequest(HELLO, PURPOSE, Work.PLAN, time.monotonic() + 10))

    assert asked == {
        Work.PLAN: "fake-large",
        Work.ANSWER: "fake-small",
        Work.EXPLAIN: "fake-code",
        Work.PATCH: "fake-code",
        Work.JUDGE: "fake-just",
        Work.SAME_TASK: "fake-just",
    }
    assert instead.model == "fake-small"


def test_models_for_one_kind_of_work_do_the_others_where_no_other_is_set(fake: FakeLLM) -> None:
    environ = {"OPENAI_BASE_URL": fake.openai_url, "JUDGE_MODELS": "openai:just"}

    answer = _open(environ).complete(CompletionRequest(HELLO, PURPOSE, Work.PLAN, time.monotonic() + 10))

    assert answer.model == "fake-just"


def test_models_for_one_kind_of_work_need_their_providers_key() -> None:
    with pytest.raises(SettingsError, match="PLANNER_MODELS names anthropic: set ANTHROPIC_API_KEY"):
        settings.load({**NEEDED, "PLANNER_MODELS": "anthropic:m"})


@pytest.mark.parametrize(
    "text", ["lots", "plan=", "plan=7", "dream=4000", "plan=4000=5000", "-5000", "10000001"]
)
def test_an_output_limit_must_be_a_number_for_a_known_kind_of_work(text: str) -> None:
    with pytest.raises(ValueError, match=r"from 16 to 1000000.*kind is one of plan, answer, judge"):
        parse_output_tokens(text)


def test_one_output_limit_holds_for_all_kinds_of_work() -> None:
    parsed = parse_output_tokens("4000, plan=9000")

    assert (parsed[Work.PLAN], parsed[Work.JUDGE], len(parsed)) == (9_000, 4_000, len(Work))


def _open(environ: dict[str, str]) -> ModelChain:
    chosen = settings.load({**NEEDED, **environ})
    return open_models(
        chosen, gate=FallbackGate(), observe=lambda _: None, environ={}, learned=LearnedFacts()
    )


def _limit(fake: FakeLLM, number: int) -> int:
    body = fake.received[number].body
    limit: int = body.get("max_tokens") or body["max_completion_tokens"]
    return limit

"""Reasoning, drafts and echoes before a model's answer are not mistaken for the answer."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.llm.answer_parser import parse_values, without_reasoning
from orchestrator.llm.structured_output import parse_value
from orchestrator.models import model_errors
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import ModelCaller

PROVIDERS = ("openai", "anthropic")
VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"number": {"type": "integer"}, "met": {"type": ["boolean", "null"]}},
                "required": ["number", "met"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["verdicts"],
    "additionalProperties": False,
}
NAMED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
DRAFT, FINAL = json.dumps({"name": "draft"}), json.dumps({"name": "final"})


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def verdict(met: bool | None) -> str:
    return json.dumps({"verdicts": [{"number": 1, "met": met}]})


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Perhaps {DRAFT}?</think>{FINAL}",
        f"<thinking>\n```json\n{DRAFT}\n```\n</thinking>\n```json\n{FINAL}\n```",
        f"<reasoning>{DRAFT}</reasoning>\n\n{FINAL}",
        f"<THINK>{DRAFT}</THINK>{FINAL}",
        f"Perhaps {DRAFT}.\n</think>\n{FINAL}",
        f"<think>a<think>b</think>{DRAFT}</think>{FINAL}",
        f"<think>The <think> mark is mine. {DRAFT}</think>{FINAL}",
        f"{FINAL}<think>or {DRAFT}?</think>",
        f"The form is {DRAFT}, so:\n{FINAL}",
        f"```json\n{DRAFT}\n```\nNo, better:\n```json\n{FINAL}\n```\nDone.",
    ],
)
def test_the_last_value_after_the_reasoning_is_the_answer(text: str) -> None:
    assert parse_value(text, NAMED) == ({"name": "final"}, [])


@pytest.mark.parametrize("around", ["{}", "So: {} Done."])
def test_tags_inside_a_value_are_part_of_it(around: str) -> None:
    value = {"name": "what </think> and <think> mean"}

    assert parse_value(around.replace("{}", json.dumps(value)), NAMED) == (value, [])


@pytest.mark.parametrize("text", [f"<think>{DRAFT}", f"<think>{DRAFT}</think>", f"{DRAFT}</think>"])
def test_reasoning_alone_is_not_an_answer(text: str) -> None:
    assert parse_value(text, NAMED) == (None, ["there is no JSON value in it"])


def test_a_faulty_last_value_is_not_replaced_by_a_draft() -> None:
    value, wrong = parse_value(f'{DRAFT} or rather {{"name": 3}}', NAMED)

    assert (value, wrong) == (None, ["name must be of type string"])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>hm</think>\nYes.", "Yes."),
        ("hm</think>Yes.", "Yes."),
        ("The mark <think> begins it.", "The mark <think> begins it."),
        ('"</think>"', '"</think>"'),
        ("<think>hm", ""),
    ],
)
def test_text_answers_lose_their_leading_reasoning(text: str, left: str) -> None:
    assert without_reasoning(text) == left


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_judges_draft_does_not_override_its_verdict(fake: FakeLLM, name: str) -> None:
    fake.answer(f"<think>{verdict(True)}</think>{verdict(False)}")

    answer = ModelCaller(fake, [f"{name}:fake-model"]).ask(VERDICT)

    assert answer.value["verdicts"][0]["met"] is False
    assert answer.text == verdict(False)
    assert len(fake.received) == 1


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("other", [True, None])
def test_contradictory_verdicts_are_corrected(fake: FakeLLM, name: str, other: bool | None) -> None:
    fake.answer(f"{verdict(other)}\nno:\n{verdict(False)}", verdict(False))

    answer = ModelCaller(fake, [f"{name}:fake-model"]).ask(VERDICT)

    assert answer.value["verdicts"][0]["met"] is False
    assert "differ in verdicts.0.met" in fake.received[1].text


def test_verdicts_that_stay_contradictory_are_an_error(fake: FakeLLM) -> None:
    fake.answer(*[verdict(True) + verdict(False)] * 3)

    with pytest.raises(model_errors.ModelAnswerInvalid, match="differ in"):
        ModelCaller(fake).ask(VERDICT)

    assert len(fake.received) == 3


def test_a_draft_before_an_answer_that_the_limit_cut_is_not_taken(fake: FakeLLM) -> None:
    draft, begun = verdict(True), verdict(False)[:20]
    # the fault cuts the text in half
    fake.add(*[Scripted(draft + begun + " " * len(draft + begun), fault=Fault.LENGTH)] * 2)

    with pytest.raises(model_errors.ModelAnswerCut):
        ModelCaller(fake).ask(VERDICT)


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("character", ["\x00", "\ud800"])
def test_an_unstorable_answer_is_corrected_once_and_does_not_count_as_broken(
    fake: FakeLLM, name: str, character: str
) -> None:
    fake.answer(json.dumps({"name": f"a{character}"}) + character, FINAL)

    answer = ModelCaller(fake, [f"{name}:fake-model"]).ask(NAMED)

    assert [attempt.outcome for attempt in answer.attempts] == ["ok", "ok"]
    assert all(attempt.usage for attempt in answer.attempts)


@pytest.mark.parametrize(
    "text",
    ["[" * 2**20, '{"a":' * 2**18, "{" * 2**20, "```\n" * 2**18, "<think>" * 2**17, "{}" * 2**19],
    ids=["brackets", "members", "braces", "fences", "marks", "values"],
)
def test_no_text_takes_long_to_parse(text: str) -> None:
    started = time.monotonic()

    parse_values(text)

    assert time.monotonic() - started < 20

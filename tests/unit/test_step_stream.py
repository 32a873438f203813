"""Steps are read out of an answer while it is written, whatever surrounds them, in linear time."""

import json
import random

import pytest

from orchestrator.planner.step_stream import MAX_CHARACTERS, StepStream
from tests.unit.pattern_kit import cpu_seconds

STEPS = [
    {
        "id": "a",
        "action": "x",
        "inputs": {"q": 'say "}]" \\ [', "n": [1, {"steps": [{"id": "no"}]}]},
    },
    {"id": "b", "action": "y", "depends_on": ["a"]},
    {"id": "é😀\u2028", "inputs": {}},
]
PLAN = {"rationale": 'the "steps": [{', "steps": STEPS, "result": {"steps": 1}, "confidence": 1}
PLAIN, SPACED = json.dumps(PLAN), json.dumps(PLAN, ensure_ascii=False, indent=2)
ANSWERS = {
    "alone": PLAIN,
    "with spaces": SPACED,
    "in a fence": f'Here is {{it}} [x], "the plan":\n```json\n{SPACED}\n```',
    "after reasoning": f"<think>A draft: {PLAIN} </think>\n{SPACED}",
    "after spaced tags": f"< Thinking >{PLAIN}</ thinking > {PLAIN}",
}


def read(text: str, size: int) -> list[object]:
    """Read a text in parts of this size."""
    stream = StepStream()
    return [
        json.loads(found) for at in range(0, len(text), size) for found in stream.add(text[at : at + size])
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10**6])
@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_each_step_is_read_whatever_surrounds_it_and_however_the_answer_is_cut(text: str, size: int) -> None:
    assert read(text, size) == STEPS


def test_a_step_is_read_as_soon_as_its_last_brace_is_there() -> None:
    stream = StepStream()
    first = json.dumps(STEPS[0])
    before, after = PLAIN[: PLAIN.index(first)], PLAIN[PLAIN.index(first) + len(first) :]

    assert stream.add(before + first[:-1]) == []
    assert stream.add("}") == [first]
    assert len(stream.add(after)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "steps: none",
        '{"rationale": "no steps"}',
        '{"plan": {"steps": [{"id": "a"}]}}',
        '[{"id": "a"}]',
        '{"steps": {"id": "a"}}',
        '{"steps": ["a", 1, null]}',
        '{"rationale": "steps", "other": [{"id": "a"}]}',
        "}}}]]] {",
        '{"steps": [{"id": "a"',
        f"<think>{PLAIN}",
    ],
)
def test_nothing_else_is_taken_for_a_step(text: str) -> None:
    assert read(text, 3) == []


def test_what_follows_the_longest_answer_is_not_read() -> None:
    stream = StepStream()

    assert len(stream.add(" " * (MAX_CHARACTERS - len(PLAIN)) + PLAIN)) == len(STEPS)
    assert stream.add(PLAIN) == []


def test_no_text_breaks_it() -> None:
    chance = random.Random(1)
    for _ in range(300):
        stream = StepStream()
        for _ in range(chance.randrange(20)):
            part = "".join(chance.choices('{}[]"\\,:<>/ think"steps"', k=chance.randrange(30)))
            stream.add(part)


@pytest.mark.parametrize(
    "unit", ['{"steps":[{"a":"\\"', '{"a":', "<think></", "< ", '"', "[{", '{"steps":[{}', "\\"]
)
def test_reading_takes_linear_time(unit: str) -> None:
    def work(text: str) -> None:
        read(text, 16)

    small, large = unit * (20_000 // len(unit)), unit * (160_000 // len(unit))

    # 8 times the text: quadratic time would be 64 times as much
    assert cpu_seconds(work, large) < 24 * max(cpu_seconds(work, small), 0.002)

"""What a model sees of long texts: whole if there is room, else the fitting parts, with what is left out named."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.llm.prompt import Role, compose
from orchestrator.models.model_limits import ModelLimits, input_room
from orchestrator.models.model_work import Work
from orchestrator.models.task_contract import Contract, Criterion
from orchestrator.models.verdict import CheckedBy, Verdict
from tests.fake_llm.server import FakeLLM
from tests.unit.arm_kit import assignment, done, run, view
from tests.unit.model_kit import scripted
from workers.arms.code_context import code_context
from workers.arms.excerpts import choose, divide, fair_shares, joined, shortened, size_of
from workers.arms.judge import judge_round

MODULE = "import math\n\n\n" + "".join(
    f"def area_{number}(radius):\n    # {'x' * 60}\n    return {number} * math.pi * radius\n\n\n"
    for number in range(60)
)
SMALL_MODEL = 4_500
STEPS: list[dict[str, Any]] = [
    {"id": name, "arm": "executor", "action": "wait", "inputs": {"seconds": 0}, "depends_on": []}
    for name in ("long", "short")
]


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server with scripted answers."""
    with FakeLLM() as running:
        yield running


@pytest.mark.parametrize(
    ("sizes", "room", "shares"),
    [
        ([10, 20], 100, [10, 20]),
        ([10, 500, 20], 100, [10, 70, 20]),
        ([500, 500], 100, [50, 50]),
        ([500, 10, 500], 100, [45, 10, 45]),
        ([500], 0, [0]),
        ([], 100, []),
    ],
)
def test_short_texts_are_whole_and_long_ones_share_the_rest(
    sizes: list[int], room: int, shares: list[int]
) -> None:
    assert fair_shares(sizes, room) == shares


@given(st.text(alphabet="a\n é", max_size=4_000), st.integers(0, 5_000))
def test_the_parts_are_the_whole_text_and_the_chosen_ones_fit(text: str, room: int) -> None:
    parts = divide("a", text)

    assert "".join(part.text for part in parts) == text
    assert [part.text for part in joined(parts)] == [text] * bool(text)
    assert sum(part.size_bytes for part in choose(parts, [range(len(parts))], room)) <= room


def test_a_shortened_text_says_how_much_is_left_out_and_keeps_what_each_criterion_is_about() -> None:
    lines = [f"line {number} says nothing of interest\n" for number in range(900)]
    lines[450] = "the refund takes three days\n"
    lines[800] = "the parcel weighs four kilograms\n"
    text = "".join(lines)

    shown = shortened(text, room=4_000, wanted=["how long a refund takes", "what a parcel weighs"])

    assert size_of(shown) < 4_500
    assert "the refund takes three days" in shown
    assert "the parcel weighs four kilograms" in shown
    gaps = [int(line.split()[1]) for line in shown.split("\n") if line.startswith("[... ")]
    assert sum(gaps) + sum(map(len, shown.split("\n"))) > len(text) * 0.9


def test_a_file_larger_than_4000_bytes_is_shown_whole_when_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)

    shown = code_context(tmp_path, room=20_000)

    assert (len(MODULE) > 7_000, shown.left_out) == (True, ())
    assert MODULE in compose(Role.USER, *shown.parts()).text


def test_a_file_without_room_is_shown_by_the_functions_that_the_task_names_and_a_map(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    (tmp_path / "other.py").write_text("def unrelated():\n    return 1\n" * 60)

    shown = code_context(tmp_path, hints=["area_41 is wrong in m.py"], room=3_000)

    said = compose(Role.USER, *shown.parts()).text
    assert "def area_41(radius):\n" in said
    assert sum(part.size_bytes for part in shown.shown) <= 3_000
    assert [place.partition(":")[0] for place in shown.left_out] == ["m.py", "m.py", "other.py"]
    line = MODULE[: MODULE.index("def area_20")].count("\n") + 1
    assert f"m.py:{line} def area_20(radius):" in shown.titles
    assert "return 20 * math.pi" not in said


def test_each_part_has_the_numbers_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    line = MODULE[: MODULE.index("def area_41")].count("\n") + 1

    shown = code_context(tmp_path, hints=["area_41"], room=200)

    said = compose(Role.USER, *shown.parts()).text
    assert f"Lines {line} to {line + 4} of {MODULE.count(chr(10)) + 1}:" in said
    assert shown.left_out == (
        f"m.py: lines 4 to {line - 1}",
        f"m.py: lines {line + 5} to {MODULE.count(chr(10))}",
    )


@pytest.mark.parametrize(("context_tokens", "is_whole"), [(128_000, True), (SMALL_MODEL, False)])
def test_an_explanation_sees_as_much_code_as_the_models_context_leaves(
    context_tokens: int, is_whole: bool, fake: FakeLLM
) -> None:
    line = MODULE[: MODULE.index("def area_41")].count("\n") + 1
    fake.answer(
        {"explanation": "x", "places": [{"file": "m.py", "line": line, "quote": "def area_41(radius):"}]}
    )
    given = assignment("coder", "explain", {"question": "What is area_41?"}, files={"m.py": MODULE.encode()})

    output = run(replace(given, model=scripted(fake, context_tokens=context_tokens))).output

    assert (MODULE in _sent(fake), output["not_shown"] == []) == (is_whole, is_whole)
    assert "def area_41(radius):" in _sent(fake)
    assert len(output["places"]) == 1


def test_the_input_room_only_lowers_what_is_shown(fake: FakeLLM) -> None:
    fake.answer({"explanation": "x", "places": [{"file": "m.py", "line": 1, "quote": "import math"}]})
    inputs = {"question": "What is imported?", "room": 1_000}

    run(
        replace(assignment("coder", "explain", inputs, files={"m.py": MODULE.encode()}), model=scripted(fake))
    )

    assert len(_sent(fake)) < 4_000


def judged(fake: FakeLLM, long: str, *, context_tokens: int) -> Verdict:
    contract = Contract(
        goal="g", acceptance_criteria=(Criterion("how long a refund takes"), Criterion("what the end says"))
    )
    results = {"long": done({"summary": long}), "short": done({"summary": "a short one, whole"})}
    return judge_round(view(STEPS, results, contract=contract), scripted(fake, context_tokens=context_tokens))


def word(number: int, quote: str) -> dict[str, Any]:
    return {"number": number, "met": True, "explanation": "", "quotes": [{"step": "long", "quote": quote}]}


@pytest.mark.parametrize("context_tokens", [128_000, SMALL_MODEL])
def test_a_criterion_about_the_end_of_a_long_output_is_judged_by_its_own_evidence(
    context_tokens: int, fake: FakeLLM
) -> None:
    long = (
        "nothing of interest\n" * 500
        + "the refund takes three days\n"
        + "more of it\n" * 900
        + "the end says so"
    )
    fake.answer({"verdicts": [word(1, "the refund takes three days"), word(2, "the end says so")]})

    verdict = judged(fake, long, context_tokens=context_tokens)

    sent = _sent(fake)
    # the prompt itself mentions the mark once
    assert (sent.count("left out here") > 1) == (context_tokens == SMALL_MODEL)
    assert all(text in sent for text in ("takes three days", "the end says so", "a short one, whole"))
    assert [finding.checked_by for finding in verdict.findings[1:]] == [CheckedBy.LLM] * 2


def test_the_mark_of_a_gap_proves_nothing(fake: FakeLLM) -> None:
    fake.answer({"verdicts": [word(1, "characters left out here"), word(2, "the end says so")]})

    verdict = judged(fake, "nothing of interest\n" * 900 + "the end says so", context_tokens=SMALL_MODEL)

    assert [finding.met for finding in verdict.findings[1:]] == [None, True]


@pytest.mark.parametrize(
    ("limits", "tokens"),
    [
        (ModelLimits(), 8_192 - 4_096 - 1_500),
        (ModelLimits(4_096), 4_096 - 2_048 - 1_500),
        (ModelLimits(2_048), 500),
        (ModelLimits(128_000, 16_384), 128_000 - 8_000 - 1_500),
    ],
)
def test_the_room_of_a_question_is_the_context_window_without_the_answer(
    limits: ModelLimits, tokens: int
) -> None:
    assert input_room(Work.ANSWER, limits) == tokens


def _sent(fake: FakeLLM) -> str:
    return "\n".join(turn["content"] for turn in fake.received[-1].body["messages"])

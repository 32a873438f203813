"""Extracted values fit the client's schema; a value that no verbatim quote shows is listed as unproved."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.errors import BudgetExceeded, InvalidStepInput, VerificationFailed
from orchestrator.models.model_errors import NoModel
from orchestrator.models.step_result import StepResult
from tests.fake_llm.server import FakeLLM
from tests.unit.arm_kit import assignment, run
from tests.unit.model_kit import ScriptedModel, scripted
from tests.unit.pattern_kit import cpu_seconds
from workers.arms.extracted_value import Extract, Quoted, joined, proves
from workers.arms.extraction import partial_schema

INVOICE = "Invoice of Miller Ltd\n\nBolts: 4,50 EUR\nNuts: 12 EUR\nPaid.\n"
SCHEMA = {
    "type": "object",
    "properties": {
        "seller": {"type": "string"},
        "paid": {"type": "boolean"},
        "note": {"type": ["string", "null"]},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
                "required": ["name", "price"],
            },
        },
    },
    "required": ["seller", "items", "note"],
}
VALUE = {"seller": "Miller Ltd", "paid": True, "items": [{"name": "Bolts", "price": 4.5}]}


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server with scripted answers."""
    with FakeLLM() as running:
        yield running


def extracted(
    model: ScriptedModel | None, content: str = INVOICE, *, task_schema: Any = None, **inputs: Any
) -> StepResult:
    given = assignment("writer", "extract", inputs, files={"invoice.txt": content.encode()})
    return run(replace(given, model=model, output_schema=task_schema))


def quote(pointer: str, text: str, passage: int = 1) -> dict[str, Any]:
    return {"pointer": pointer, "passage": passage, "quote": text}


def test_values_are_proved_by_quotes_and_others_are_listed(fake: FakeLLM) -> None:
    quotes = [
        quote("/seller", "Miller Ltd"),
        quote("/items/0", "Bolts: 4,50 EUR"),
        quote("/paid", "is paid"),
        quote("/items/7/price", "Nuts"),
    ]
    fake.answer({"value": VALUE, "quotes": quotes})

    result = extracted(scripted(fake), schema=SCHEMA)

    assert result.output["value"] == {**VALUE, "note": None}
    assert [(item["pointer"], item["line"], item["quote"]) for item in result.output["quotes"]] == [
        ("/seller", 1, "Miller Ltd"),
        ("/items/0/name", 3, "Bolts: 4,50 EUR"),
        ("/items/0/price", 3, "Bolts: 4,50 EUR"),
    ]
    assert result.output["unproved"] == ["/paid"]
    assert result.warnings == ["1 value unproved, without a quote that shows it: /paid"]


def test_a_quote_that_stands_there_does_not_prove_another_value(fake: FakeLLM) -> None:
    value = {"seller": "Evil Corp", "items": [{"name": "Nuts", "price": 99}]}
    quotes = [quote("/seller", "Miller Ltd"), quote("/items/0", "Nuts: 12 EUR")]
    fake.answer({"value": value, "quotes": quotes})

    assert extracted(scripted(fake), schema=SCHEMA).output["unproved"] == ["/seller", "/items/0/price"]


def test_a_value_of_which_nothing_is_proved_is_an_error(fake: FakeLLM) -> None:
    fake.answer({"value": VALUE, "quotes": [quote("/seller", "Smith")]})

    with pytest.raises(VerificationFailed, match="Nothing that the model extracted is proved: 4 values"):
        extracted(scripted(fake), schema=SCHEMA)


def test_the_schema_of_the_task_is_the_default_and_a_step_without_any_fails(fake: FakeLLM) -> None:
    fake.answer({"value": {"n": 12}, "quotes": [quote("/n", "12 EUR")]})
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    assert extracted(scripted(fake), task_schema=schema).output["value"] == {"n": 12}
    with pytest.raises(InvalidStepInput, match="has no schema"):
        extracted(scripted(fake))


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"properties": {"a" * 9: {"enum": ["b" * 70_000]}}}]
)
def test_a_schema_that_is_none_or_too_large_is_refused_before_a_model_is_asked(
    schema: Any, fake: FakeLLM
) -> None:
    with pytest.raises(InvalidStepInput, match="can't extract by its schema"):
        extracted(scripted(fake), schema=schema)

    assert fake.received == []


def test_without_a_model_the_step_says_how_to_get_one() -> None:
    with pytest.raises(NoModel, match="OPENAI_API_KEY"):
        extracted(None, schema=SCHEMA)


def test_a_value_that_breaks_the_schema_is_corrected_once(fake: FakeLLM) -> None:
    lacking = {"value": {"items": []}, "quotes": []}
    whole = {"value": {"seller": "Miller Ltd", "items": []}, "quotes": [quote("/seller", "Miller Ltd")]}
    fake.answer(lacking, whole, lacking, lacking)

    assert extracted(scripted(fake), schema=SCHEMA).output["value"]["seller"] == "Miller Ltd"
    assert "lacks 'seller'" in fake.received[1].text
    with pytest.raises(VerificationFailed, match="breaks its schema: the value: lacks 'seller'"):
        extracted(scripted(fake), schema=SCHEMA)
    assert len(fake.received) == 4


class Poor(ScriptedModel):
    """Models that a budget pays for twice only."""

    def ask(self, *given: Any, **named: Any) -> Any:
        """Ask, or refuse."""
        if len(self.completions) == 2:
            raise BudgetExceeded("no more")
        return super().ask(*given, **named)


@pytest.mark.parametrize("poor", [False, True], ids=["parts", "budget"])
def test_long_texts_are_read_by_parts_and_their_values_are_joined(poor: bool, fake: FakeLLM) -> None:
    filler = "".join(f"Line {number} is of no interest at all.\n" for number in range(150))
    content = f"Miller Ltd sold bolts.\n{filler}Smith Ltd sold nuts.\n"
    schema = {
        "type": "object",
        "properties": {
            "seller": {"type": "string"},
            "goods": {"type": "array", "items": {"type": "string"}},
        },
    }
    first = {"value": {"seller": "Smith Ltd", "goods": ["bolts"]}, "quotes": [quote("/goods/0", "bolts")]}
    second = {"value": {"seller": None, "goods": ["bolts", "line"]}, "quotes": [quote("/goods/1", "Line")]}
    fake.answer(first, second, *[{"value": {}, "quotes": []}] * 6)
    models = scripted(fake, context_tokens=3_000).models

    output = extracted(Poor(models) if poor else ScriptedModel(models), content, schema=schema).output

    assert output["value"] == {"seller": "Smith Ltd", "goods": ["bolts", "line"]}
    assert [item["pointer"] for item in output["quotes"]] == ["/goods/0", "/goods/1"]
    assert output["unproved"] == ["/seller"]
    assert (output["unread"] > 0, output["parts"] > 2) == (poor, not poor)
    assert bool(output["unread_places"]) == poor


def one(value: Any, *quotes: tuple[str, str]) -> Extract:
    return Extract.of(value, [Quoted(pointer, "a.txt", 1, text) for pointer, text in quotes])


def test_of_scalars_that_differ_the_first_proved_one_is_kept_and_the_other_told() -> None:
    unproved, proved = one({"n": 1, "b": "x"}), one({"n": 2, "b": "y"}, ("/n", "2 pieces"))

    for order in ([unproved, proved], [proved, unproved]):
        extract = joined(order)
        assert extract.value()["n"] == 2
        assert {"pointer": "/n", "kept": 2, "other": 1} in extract.conflicts
    assert joined([unproved, proved]).value()["b"] == "x"


def test_equal_items_are_joined_and_pointers_follow_their_values() -> None:
    extract = joined([one(["a", None, "b"], ("/2", "b")), one(["b", "c"], ("/1", "c")), one(None)])

    assert extract.value() == ["a", "b", "c"]
    assert [item["pointer"] for item in extract.quotes()] == ["/1", "/2"]
    assert extract.unproved() == ["/0"]


@pytest.mark.parametrize(
    ("text", "value", "proved"),
    [
        ("4,50 EUR", 4.5, True),
        ("1,000,000 people", 1_000_000, True),
        ("on 5 January 2024", "2024-01-05", True),
        ("12 EUR", 1, False),
        ("urgent", "high", False),
        ("true", True, False),
        ("", "x", False),
        ("-7 degrees", -7, True),
        ("bolts 3 4.50", 3, True),
        ("bolts 3 4.50", 4.5, True),
        ("1 000 000 people", 1_000_000, True),
    ],
)
def test_a_quote_proves_a_text_or_number_with_which_it_shares_a_word_or_the_digits(
    text: str, value: Any, proved: bool
) -> None:
    assert proves(text, value) is proved


def test_a_part_of_a_text_need_not_say_what_the_schema_requires() -> None:
    partial = partial_schema(SCHEMA)

    assert "required" not in partial
    assert partial["properties"]["seller"] == {"type": ["string", "null"]}
    assert partial_schema({"enum": ["a"], "minLength": 3}) == {"enum": ["a", None]}


def test_many_values_with_many_quotes_take_linear_time() -> None:
    def work(text: str) -> None:
        quotes = [Quoted("", "a.txt", 1, "word 7") for _ in text]
        Extract.of({f"a{number}": number + 8 for number in range(len(text))}, quotes)

    # 8 times as much: quadratic time would be 64 times as much
    assert cpu_seconds(work, "x" * 4_000) < 24 * max(cpu_seconds(work, "x" * 500), 0.002)

"""An answer sees whole documents if they fit; longer ones are read by parts, with notes that quotes prove."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.step_result import StepResult
from tests.fake_llm.server import FakeLLM
from tests.unit.arm_kit import assignment, run
from tests.unit.model_kit import ScriptedModel, scripted

SUMMARISE = "Summarise the attached document in two sentences"
SMALL_MODEL = 3_000
REFUND = "A late delivery is refunded in full.\n"
LONG = REFUND + "Nothing of interest stands here.\n" * 100 + "Returns are free.\n"


class Poor(ScriptedModel):
    """Models that a budget pays for twice only."""

    def ask(self, *given: Any, **named: Any) -> Any:
        """Ask, or refuse to take notes of a third part."""
        if len(self.completions) == 2 and named["purpose"].startswith("retriever.notes"):
            raise BudgetExceeded("no more")
        return super().ask(*given, **named)


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server with scripted answers."""
    with FakeLLM() as running:
        yield running


def answered(model: ScriptedModel, text: str, **inputs: Any) -> StepResult:
    given = assignment(
        "retriever", "answer", {"question": SUMMARISE, **inputs}, files={"terms.md": text.encode()}
    )
    return run(replace(given, model=model))


def said(*cited: tuple[int, str]) -> dict[str, Any]:
    sentences = [
        {"text": quote, "citations": [{"passage": number, "quote": quote}]} for number, quote in cited
    ]
    return {"sentences": sentences, "missing": ""}


def notes(*taken: tuple[int, str]) -> dict[str, Any]:
    return {"notes": [{"passage": number, "quote": quote, "note": "it matters"} for number, quote in taken]}


def test_a_document_that_fits_is_shown_whole_though_no_word_of_the_question_is_in_it(fake: FakeLLM) -> None:
    fake.answer(said((1, "refunded in full")))

    output = answered(scripted(fake), LONG).output

    assert output["citations"] == [{"file": "terms.md", "line": 1, "quote": "refunded in full"}]
    assert (output["unread"], output["passages"]) == (0, 3)
    assert "Returns are free." in fake.received[0].text


def test_a_long_document_is_read_by_parts_and_its_notes_keep_their_places(fake: FakeLLM) -> None:
    fake.answer(
        notes((1, "refunded in full"), (1, "not there"), (9, "refunded")),
        notes((1, "Returns are free.")),
        said((1, "refunded in full"), (2, "Returns are free.")),
    )

    result = answered(scripted(fake, context_tokens=SMALL_MODEL), LONG, whole=True)

    assert [(item["line"], item["quote"]) for item in result.output["citations"]] == [
        (1, "refunded in full"),
        (102, "Returns are free."),
    ]
    assert (result.output["unread"], result.warnings) == (0, ["read in 2 parts"])
    purposes = [model["prompt"] for model in result.provenance["models"]]
    assert purposes == ["retriever.notes@1.0.0"] * 2 + ["retriever.answer@1.1.0"]
    assert "it matters" in fake.received[2].text
    assert "Nothing of interest" not in fake.received[2].text


@pytest.mark.parametrize("poor", [False, True], ids=["parts", "budget"])
def test_what_is_not_read_is_told(poor: bool, fake: FakeLLM) -> None:
    asked = 2 if poor else 8
    fake.answer(*[notes((1, "Nothing of interest"))] * asked, said((1, "Nothing of interest")))
    models = scripted(fake, context_tokens=SMALL_MODEL).models

    result = answered(Poor(models) if poor else ScriptedModel(models), LONG * 10, whole=True)

    assert result.output["unread"] > 0
    assert result.warnings[0].endswith(f"there is no room for more than {asked} parts")
    assert len(fake.received) == asked + 1

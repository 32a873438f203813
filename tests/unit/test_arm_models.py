"""Arms with a model keep only what a verbatim quote proves."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.errors import VerificationFailed
from orchestrator.models.model_errors import ModelQuotaExhausted, NoModel
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Contract, Criterion
from orchestrator.models.verdict import CheckedBy, Decision, Verdict
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.unit.arm_kit import assignment, done, run, view
from tests.unit.model_kit import ScriptedModel, scripted
from workers.arms.judge import judge_round
from workers.arms.synthesis import synthesise

CODE = b"def double(x):\n    return 2 * x\n"
MATCHES = [
    {
        "file": "a.md",
        "line": 3,
        "quote": "A late delivery is refunded in full.\nThe refund takes three days.",
    },
    {"file": "b.md", "line": 9, "quote": "Returns are free."},
]
WORDS = Criterion("It says how long a refund takes")
STEPS = [{"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]
OUTPUT = {"summary": "The refund takes three days.", "count": 3}


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server with scripted answers."""
    with FakeLLM() as running:
        yield running


def answered(fake: FakeLLM, *sentences: dict[str, Any], missing: str = "") -> StepResult:
    fake.answer({"sentences": list(sentences), "missing": missing})
    given = assignment("retriever", "answer", {"question": "How long?"})
    return synthesise(replace(given, model=scripted(fake)), MATCHES)


def cite(passage: int, quote: str) -> dict[str, Any]:
    return {"passage": passage, "quote": quote}


def test_a_sentence_is_kept_with_the_place_of_its_quote(fake: FakeLLM) -> None:
    result = answered(fake, {"text": "Three days.", "citations": [cite(1, "takes three days")]})

    assert result.output["citations"] == [{"file": "a.md", "line": 4, "quote": "takes three days"}]
    assert result.output["answer"] == "Three days. [a.md:4]"
    assert result.provenance["models"][0]["prompt"] == "retriever.answer@1.1.0"
    assert (result.usage["calls"], result.usage["cost_dollars"]) == (1, "0")


@pytest.mark.parametrize(
    "citation",
    [cite(2, "takes three days"), cite(1, "takes 3 days"), cite(3, "x"), cite(0, "x"), cite(1, " ")],
)
def test_a_sentence_without_a_verbatim_quote_is_left_out_with_a_warning(
    citation: dict[str, Any], fake: FakeLLM
) -> None:
    result = answered(
        fake,
        {"text": "Three days.", "citations": [citation]},
        {"text": "Free.", "citations": [cite(2, "Returns are free.")]},
        {"text": "Trust me.", "citations": []},
    )

    assert [item["text"] for item in result.output["sentences"]] == ["Free."]
    assert result.output["left_out"] == 2
    assert "2 sentences left out" in result.warnings[0]


def test_a_missing_answer_is_reported_as_missing(fake: FakeLLM) -> None:
    output = answered(fake, missing="the price is not there").output

    assert output["answer"] == ""
    assert output["summary"] == "The documents do not answer it: the price is not there"


@pytest.mark.parametrize(
    ("arm", "action", "inputs"),
    [
        ("retriever", "answer", {"question": "x"}),
        ("coder", "fix", {"instruction": "x"}),
        ("coder", "generate", {"instruction": "x"}),
        ("coder", "explain", {"question": "x"}),
    ],
)
def test_without_a_model_the_step_fails_with_no_model(arm: str, action: str, inputs: dict[str, Any]) -> None:
    with pytest.raises(NoModel, match="OPENAI_API_KEY"):
        run(assignment(arm, action, inputs, files={"m.py": CODE}))


def test_an_explanation_keeps_the_places_that_exist(fake: FakeLLM) -> None:
    right = {"file": "m.py", "line": 2, "quote": "return 2 * x"}
    wrong = [{**right, "line": 1}, {**right, "file": "n.py"}, {**right, "quote": "return 3 * x"}]
    wrong.append({**right, "quote": " "})
    fake.answer({"explanation": "It doubles.", "places": [right, *wrong]})
    given = assignment("coder", "explain", {"question": "What does it do?"}, files={"m.py": CODE})

    result = run(replace(given, model=scripted(fake)))

    assert result.output["places"] == [right]
    assert result.output["left_out"] == 4
    assert "def double(x):" in fake.received[0].text


@pytest.mark.parametrize("places", [[], [{"file": "m.py", "line": 1, "quote": "return 3 * x"}]])
def test_an_explanation_without_a_proved_place_fails(places: list[dict[str, Any]], fake: FakeLLM) -> None:
    fake.answer({"explanation": "It triples.", "places": places})
    given = assignment("coder", "explain", {"question": "What does it do?"}, files={"m.py": CODE})

    with pytest.raises(VerificationFailed, match="not proved") as failed:
        run(replace(given, model=scripted(fake)))

    assert (failed.value.details["explanation"], failed.value.details["left_out"]) == (
        "It triples.",
        len(places),
    )


def test_an_answer_of_which_no_sentence_is_proved_fails(fake: FakeLLM) -> None:
    with pytest.raises(VerificationFailed, match="2 sentences without a verbatim quote"):
        answered(
            fake, {"text": "Two days.", "citations": [cite(1, "two days")]}, {"text": "So.", "citations": []}
        )


def judged(model: ScriptedModel | None, *criteria: Criterion, made_by: str | None = None) -> Verdict:
    result = done(OUTPUT)
    if made_by:
        result = StepResult(ResultStatus.DONE, output=OUTPUT, provenance={"models": [{"provider": made_by}]})
    return judge_round(
        view(STEPS, {"a": result}, contract=Contract(goal="g", acceptance_criteria=criteria)), model
    )


def word(met: bool | None, *quotes: str, number: int = 1, step: str = "a") -> dict[str, Any]:
    shown = [{"step": step, "quote": quote} for quote in quotes]
    return {"number": number, "met": met, "explanation": "so it seems", "quotes": shown}


@pytest.mark.parametrize(
    ("said", "met", "decision"),
    [
        (word(True, "takes three days"), True, Decision.PASSED),
        (word(True, "takes three days", "not there"), True, Decision.PASSED),
        (word(False, "takes three days"), False, Decision.FAILED),
        (word(False), False, Decision.FAILED),
        (word(True), None, Decision.INCONCLUSIVE),
        (word(True, "takes two days"), None, Decision.INCONCLUSIVE),
        (word(True, "takes three days", step="b"), None, Decision.INCONCLUSIVE),
        (word(True, " "), None, Decision.INCONCLUSIVE),
        (word(None, "takes three days"), None, Decision.INCONCLUSIVE),
        (word(True, "takes three days", number=7), None, Decision.INCONCLUSIVE),
    ],
)
def test_a_model_s_verdict_counts_only_with_a_verbatim_quote(
    said: dict[str, Any], met: bool | None, decision: Decision, fake: FakeLLM
) -> None:
    fake.answer({"verdicts": [said]})

    verdict = judged(scripted(fake), WORDS)

    finding = next(item for item in verdict.findings if item.criterion == WORDS.text)
    assert (finding.met, verdict.decision) == (met, decision)
    assert finding.checked_by is (CheckedBy.NOT_CHECKED if met is None else CheckedBy.LLM)
    assert met is not True or finding.evidence[0] == {"step": "a", "quote": "takes three days"}
    assert met is not False or verdict.faulty == {"a": f"not met: {WORDS.text} (so it seems)"}


@pytest.mark.parametrize(
    "fault", [Fault.INSUFFICIENT_QUOTA, Fault.SERVER_ERROR, Fault.REFUSAL, Fault.BAD_JSON]
)
def test_an_unavailable_model_leaves_the_criterion_not_checked(fault: Fault, fake: FakeLLM) -> None:
    fake.fail(*[fault] * 3)

    verdict = judged(scripted(fake), WORDS)

    assert verdict.decision is Decision.INCONCLUSIVE
    assert any("no model could judge it" in warning for warning in verdict.warnings)


def test_a_model_is_not_asked_about_criteria_with_a_rule(fake: FakeLLM) -> None:
    verdict = judged(scripted(fake), Criterion("three", {"step": "a", "pointer": "/count", "equals": 3}))

    assert verdict.decision is Decision.PASSED
    assert fake.received == []


def test_a_model_is_not_asked_about_a_rule_that_can_not_be_checked(fake: FakeLLM) -> None:
    verdict = judged(scripted(fake), Criterion("ghost", {"step": "ghost", "pointer": "/count", "equals": 3}))

    assert (verdict.decision, verdict.findings[1].reason) == (Decision.INCONCLUSIVE, "unknown_step")
    assert fake.received == []


def test_a_model_s_verdict_gives_no_confidence(fake: FakeLLM) -> None:
    fake.answer({"verdicts": [word(True, "takes three days")]})

    verdict = judged(scripted(fake), WORDS)

    assert (verdict.decision, verdict.coverage, verdict.confidence) == (Decision.PASSED, 1.0, None)


def test_the_judge_avoids_the_provider_that_produced_the_result(fake: FakeLLM) -> None:
    fake.answer({"verdicts": [word(True, "takes three days")]})

    verdict = judged(scripted(fake, "openai:fake-one", "anthropic:fake-two"), WORDS, made_by="openai")

    finding = next(item for item in verdict.findings if item.criterion == WORDS.text)
    assert finding.evidence[-1]["model"].startswith("anthropic:")
    assert "/v1/messages" in fake.received[0].path


def test_a_model_s_failure_is_typed(fake: FakeLLM) -> None:
    fake.fail(Fault.INSUFFICIENT_QUOTA)
    given = assignment("coder", "explain", {"question": "x"}, files={"m.py": CODE})

    with pytest.raises(ModelQuotaExhausted):
        run(replace(given, model=scripted(fake)))

"""Answers a question from passages by a model; each sentence must cite quotes that are verbatim in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import VerificationFailed
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer

MAX_SHOWN_CHARACTERS = 3_000
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "sentences": {
            "type": "array",
            "maxItems": 30,
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "citations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"passage": {"type": "integer"}, "quote": {"type": "string"}},
                            "required": ["passage", "quote"],
                            "additionalProperties": False,
                        },
                    },
                },
                "required": ["text", "citations"],
                "additionalProperties": False,
            },
        },
        "missing": {"type": "string"},
    },
    "required": ["sentences", "missing"],
    "additionalProperties": False,
}


def synthesise(
    assignment: Assignment, matches: Sequence[Mapping[str, Any]], *, warnings: Sequence[str] = ()
) -> StepResult:
    """Answer the question of the inputs from the matches of a search; raises NoModel without a model.

    A sentence without a verbatim quote is left out, and counted in a warning after those of the search. Raises
    VerificationFailed when no sentence is left.
    """
    model = assignment.require_model()
    shown = list(_shown(matches))
    prompt = load_prompt("retriever.answer")
    parts: list[Part] = []
    for number, match in enumerate(shown, start=1):
        parts += [
            trusted("Passage {}:", number),
            Untrusted("place", f"{match['file']}:{match['line']}"),
            Untrusted("passage", match["quote"]),
        ]
    parts.append(Untrusted("question", assignment.inputs["question"]))
    if assignment.feedback:
        parts.append(Untrusted("feedback", assignment.feedback))
    completion = model.ask(
        [compose(Role.SYSTEM, prompt.fill()), compose(Role.USER, *parts, trusted("Answer it."))],
        _SCHEMA,
        work=Work.ANSWER,
        purpose=prompt.purpose,
    )
    sentences = [_sentence(item, shown) for item in completion.value["sentences"]]
    kept = [item for item in sentences if item["citations"]]
    left_out = len(sentences) - len(kept)
    if left_out and not kept:
        raise VerificationFailed(
            f"The model's answer is not proved: {count_of(left_out, 'sentence')} without a verbatim quote.",
            details={"sentences": [item["text"] for item in sentences]},
        )
    citations = [citation for item in kept for citation in item["citations"]]
    missing = completion.value["missing"]
    text = " ".join(f"{item['text']} {_marks(item)}" for item in kept)
    output = {
        "summary": text or f"The documents do not answer it{f': {missing}' if missing else '.'}",
        "answer": text,
        "sentences": kept,
        "citations": citations,
        "missing": missing,
        "left_out": left_out,
        "passages": len(shown),
    }
    dropped = [f"{count_of(left_out, 'sentence')} left out: without a verbatim quote"] if left_out else []
    evidence = [{"file": item["file"], "line": item["line"]} for item in citations]
    return answer(assignment, output, evidence=evidence, warnings=[*dropped, *warnings])


def _shown(matches: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the passages that fit into MAX_SHOWN_CHARACTERS, the best first."""
    room = MAX_SHOWN_CHARACTERS
    for match in matches:
        room -= len(match["quote"])
        if room >= 0:
            yield match


def _sentence(written: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"text": written["text"], "citations": list(_found_quotes(written["citations"], shown))}


def _found_quotes(
    citations: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield file, line and quote of each citation whose quote is verbatim in its passage."""
    for citation in citations:
        number, quote = citation["passage"], citation["quote"]
        passage = shown[number - 1] if 0 < number <= len(shown) else None
        if passage is None or not quote.strip() or quote not in passage["quote"]:
            continue
        before = passage["quote"][: passage["quote"].index(quote)]
        yield {"file": passage["file"], "line": passage["line"] + before.count("\n"), "quote": quote}


def _marks(sentence: Mapping[str, Any]) -> str:
    places = dict.fromkeys(f"{item['file']}:{item['line']}" for item in sentence["citations"])
    return f"[{', '.join(places)}]"

"""Answers a question from passages by a model; each sentence must cite quotes that are verbatim in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import VerificationFailed
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.excerpts import size_of

MARKS_BYTES = 150
"""What the marks around a passage and its place take."""
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
    assignment: Assignment,
    matches: Sequence[Mapping[str, Any]],
    *,
    warnings: Sequence[str] = (),
    unread: int = 0,
) -> StepResult:
    """Answer the question of the inputs from passages, the best first, as many as fit; raises NoModel without a model.

    `unread` is the number of other passages that no model read.

    A sentence without a verbatim quote is left out, and counted in a warning after those of the search. Raises
    VerificationFailed when no sentence is left.
    """
    model = assignment.require_model()
    shown = fitting(matches, answer_room(assignment), skips=True)
    prompt = load_prompt("retriever.answer")
    parts = numbered(shown)
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
        "unread": unread + len(matches) - len(shown),
    }
    dropped = [f"{count_of(left_out, 'sentence')} left out: without a verbatim quote"] if left_out else []
    evidence = [{"file": item["file"], "line": item["line"]} for item in citations]
    return answer(assignment, output, evidence=evidence, warnings=[*dropped, *warnings])


def answer_room(assignment: Assignment) -> int:
    """Return how many bytes of passages a question to a model may have beside the step's question and feedback."""
    beside = size_of(assignment.inputs["question"]) + size_of(assignment.feedback or "")
    return max(0, assignment.require_model().room(Work.ANSWER) - beside)


def fitting(
    passages: Sequence[Mapping[str, Any]], room: int, *, skips: bool = False
) -> list[Mapping[str, Any]]:
    """Return the first passages that fit into `room` bytes; with `skips`, also later ones after one that does not."""
    kept = []
    for passage in passages:
        size = MARKS_BYTES + size_of(passage["quote"]) + size_of(passage.get("note", ""))
        if size <= room:
            room -= size
            kept.append(passage)
        elif not skips:
            break
    return kept


def numbered(passages: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return passages {file, line, quote, note?} as parts of a message, numbered from 1."""
    parts: list[Part] = []
    for number, passage in enumerate(passages, start=1):
        parts += [
            trusted("Passage {}:", number),
            Untrusted("place", f"{passage['file']}:{passage['line']}"),
            Untrusted("passage", passage["quote"]),
        ]
        if passage.get("note"):
            parts.append(Untrusted("note", passage["note"]))
    return parts


def _sentence(written: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"text": written["text"], "citations": list(proved_quotes(written["citations"], shown))}


def proved_quotes(
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

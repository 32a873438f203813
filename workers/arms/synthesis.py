"""Writes from passages by a model, an answer for one; each sentence must cite quotes that are verbatim in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Wish:
    """What is written from passages: the client's own words, our prompt for it, and `terms`, such as its length."""

    text: str
    prompt: str = "retriever.answer"
    terms: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Proved:
    """Sentences {text, citations} that have quotes; `left_out` others had none, `shown` passages were shown."""

    sentences: Sequence[Mapping[str, Any]]
    missing: str
    left_out: int
    shown: int

    @property
    def citations(self) -> list[dict[str, Any]]:
        """Return the quotes of all sentences."""
        return [citation for item in self.sentences for citation in item["citations"]]

    @property
    def text(self) -> str:
        """Return the sentences with the places of their quotes."""
        return " ".join(f"{item['text']} {marks(item)}" for item in self.sentences)

    def warnings(self) -> list[str]:
        """Return a warning about the sentences that were left out."""
        return [f"{count_of(self.left_out, 'sentence')} left out: without a verbatim quote"][: self.left_out]


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
    proved = write_sentences(assignment, Wish(assignment.inputs["question"]), matches)
    missing = f": {proved.missing}" if proved.missing else "."
    output = {
        "summary": proved.text or f"The documents do not answer it{missing}",
        "answer": proved.text,
        "sentences": proved.sentences,
        "citations": proved.citations,
        "missing": proved.missing,
        "left_out": proved.left_out,
        "passages": proved.shown,
        "unread": unread + len(matches) - proved.shown,
    }
    return answer(
        assignment,
        output,
        evidence=places_in(proved.citations),
        warnings=[*proved.warnings(), *warnings],
    )


def write_sentences(assignment: Assignment, wish: Wish, matches: Sequence[Mapping[str, Any]]) -> Proved:
    """Return what a model writes from passages, the best first, as many as fit; raises NoModel without a model.

    Raises VerificationFailed when it wrote sentences and none of them has a verbatim quote.
    """
    shown = fitting(matches, room_for(assignment, wish), skips=True)
    prompt = load_prompt(wish.prompt)
    completion = assignment.require_model().ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(Role.USER, *numbered(shown), *_asked(assignment, wish), trusted("Answer it.")),
        ],
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
    return Proved(kept, completion.value["missing"], left_out, len(shown))


def _asked(assignment: Assignment, wish: Wish) -> list[Part]:
    feedback = [Untrusted("feedback", assignment.feedback)] if assignment.feedback else []
    return [Untrusted("question", wish.text), *wish.terms, *feedback]


def room_for(assignment: Assignment, wish: Wish) -> int:
    """Return how many bytes of passages a question to a model may have beside what it asks for."""
    beside = sum(size_of(part.text) for part in _asked(assignment, wish))
    return max(0, assignment.require_model().room(Work.ANSWER) - beside)


def places_in(citations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the places of quotes, as a result's evidence."""
    return [{"file": item["file"], "line": item["line"]} for item in citations]


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


def fits(passages: Sequence[Mapping[str, Any]], room: int) -> bool:
    """Return whether all passages fit into `room` bytes."""
    return len(fitting(passages, room)) == len(passages)


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


def marks(sentence: Mapping[str, Any]) -> str:
    """Return the places that a sentence cites, in brackets."""
    places = dict.fromkeys(f"{item['file']}:{item['line']}" for item in sentence["citations"])
    return f"[{', '.join(places)}]"

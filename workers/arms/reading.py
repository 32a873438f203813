"""Reads documents that are longer than a model's room: notes with verbatim quotes from each part in turn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, TypeVar

from orchestrator.llm.prompt import Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.model_work import Work
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment
from workers.arms.excerpts import divide
from workers.arms.sources import SourceText
from workers.arms.synthesis import Wish, fits, fitting, numbered, proved_quotes, room_for

T = TypeVar("T")

MAX_PARTS = 8
"""So many parts are read at most: each is a call to a model."""
_MOST_PLACES = 3
MAX_PLACES = 100
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "notes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "passage": {"type": "integer"},
                    "quote": {"type": "string"},
                    "note": {"type": "string"},
                },
                "required": ["passage", "quote", "note"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["notes"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Reading:
    """What a model read: passages {file, line, quote, note?} in the order of the documents.

    They are the whole documents if those fit into one call (`parts` is 0), else notes of `parts` of them. `unread` are
    the passages that no model saw, of `total`.
    """

    passages: Sequence[Mapping[str, Any]]
    parts: int
    unread: Sequence[Mapping[str, Any]]
    total: int

    def warnings(self) -> list[str]:
        """Return what to tell of the reading: in how many parts, and what was not read."""
        if self.unread:
            share = f"{len(self.unread)} of {count_of(self.total, 'passage')}"
            places = ", ".join(self.unread_places()[:_MOST_PLACES])
            parts = count_of(self.parts, "part")
            return [f"{share} ({places}) not read: there is no room for more than {parts}"]
        return [f"read in {count_of(self.parts, 'part')}"] if self.parts else []

    def unread_places(self) -> list[str]:
        """Return where the unread passages stand; see places_of."""
        return places_of_passages(self.unread)


def places_of_passages(passages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return where passages stand; see places_of."""
    return places_of(
        (item["file"], item["line"], item["line"] + item["quote"].rstrip("\n").count("\n"))
        for item in passages
    )


def places_of(spans: Iterable[tuple[str, int, int]]) -> list[str]:
    """Return one place a file, as file:first-last, of spans {file, first line, last line}; at most MAX_PLACES."""
    ends: dict[str, tuple[int, int]] = {}
    for file, first, last in spans:
        known = ends.get(file, (first, last))
        ends[file] = (min(known[0], first), max(known[1], last))
    return [f"{file}:{first}-{last}" for file, (first, last) in ends.items()][:MAX_PLACES]


def whole_passages(sources: Iterable[SourceText]) -> list[dict[str, Any]]:
    """Return texts as passages {file, line, quote} that follow each other."""
    passages = []
    for source in sources:
        line = 1
        for part in divide(source.name, source.text):
            if part.text.strip():
                passages.append({"file": source.name, "line": line, "quote": part.text})
            line += part.text.count("\n")
    return passages


def read(assignment: Assignment, passages: Sequence[Mapping[str, Any]], wish: Wish) -> Reading:
    """Return the passages if all fit into one call to a model; else notes, by reading them part by part."""
    if fits(passages, room_for(assignment, wish)):
        return Reading(passages, 0, (), len(passages))
    return read_by_parts(assignment, passages, wish)


def read_by_parts(assignment: Assignment, passages: Sequence[Mapping[str, Any]], wish: Wish) -> Reading:
    """Return notes for a wish: of each part in turn those that fit beside it.

    A part is what fits into one call. Reading ends after MAX_PARTS, or when the budget can't pay for another part.
    """
    taken, left = by_parts(
        assignment,
        passages,
        room=lambda: room_for(assignment, wish),
        ask=lambda part: _notes(assignment, part, wish),
    )
    in_turns = [note for note in chain.from_iterable(zip_longest(*taken)) if note is not None]
    kept = {id(note) for note in fitting(in_turns, room_for(assignment, wish), skips=True)}
    notes = [note for note in chain.from_iterable(taken) if id(note) in kept]
    return Reading(notes, len(taken), left, len(passages))


def by_parts(
    assignment: Assignment,
    passages: Sequence[Mapping[str, Any]],
    *,
    room: Callable[[], int],
    ask: Callable[[Sequence[Mapping[str, Any]]], T],
) -> tuple[list[T], Sequence[Mapping[str, Any]]]:
    """Return what `ask` answers to each part that fits into `room` bytes, and the passages that were not read.

    It ends after MAX_PARTS, or when the budget can't pay for another part; raises BudgetExceeded for the first one.
    """
    left, answers = list(passages), list[T]()
    while left and len(answers) < MAX_PARTS:
        assignment.checkpoint()
        # at least one passage, or reading would not advance
        part = fitting(left, room()) or left[:1]
        try:
            answers.append(ask(part))
        except BudgetExceeded:
            if not answers:
                raise
            break
        left = left[len(part) :]
    return answers, left


def _notes(assignment: Assignment, part: Sequence[Mapping[str, Any]], wish: Wish) -> list[dict[str, Any]]:
    """Return the notes that a model takes of one part; those without a verbatim quote are left out."""
    prompt = load_prompt("retriever.notes")
    completion = assignment.require_model().ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(
                Role.USER,
                *numbered(part),
                Untrusted("question", wish.text),
                trusted("Take notes."),
            ),
        ],
        _SCHEMA,
        work=Work.ANSWER,
        purpose=prompt.purpose,
    )
    return [
        {**quote, "note": item["note"]}
        for item in completion.value["notes"]
        for quote in proved_quotes([item], part)
    ]

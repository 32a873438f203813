"""Reads documents that are longer than a model's room: notes with verbatim quotes from each part in turn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from orchestrator.llm.prompt import Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.model_work import Work
from workers.arms.base import Assignment
from workers.arms.excerpts import divide
from workers.arms.sources import SourceText
from workers.arms.synthesis import answer_room, fitting, numbered, proved_quotes

MAX_PARTS = 8
"""So many parts are read at most: each is a call to a model."""
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
    """Notes {file, line, quote, note} in the order of the documents; `parts` were read, `unread` passages were not."""

    notes: Sequence[Mapping[str, Any]]
    parts: int
    unread: int


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


def read_by_parts(assignment: Assignment, passages: Sequence[Mapping[str, Any]]) -> Reading:
    """Return notes on the step's question: of each part in turn those that fit beside the question.

    A part is what fits into one call. Reading ends after MAX_PARTS, or when the budget can't pay for another part.
    """
    left, taken = list(passages), list[list[dict[str, Any]]]()
    while left and len(taken) < MAX_PARTS:
        assignment.checkpoint()
        # at least one passage, or reading would not advance
        part = fitting(left, answer_room(assignment)) or left[:1]
        try:
            taken.append(_notes(assignment, part))
        except BudgetExceeded:
            if not taken:
                raise
            break
        left = left[len(part) :]
    in_turns = [note for note in chain.from_iterable(zip_longest(*taken)) if note is not None]
    kept = {id(note) for note in fitting(in_turns, answer_room(assignment), skips=True)}
    notes = [note for note in chain.from_iterable(taken) if id(note) in kept]
    return Reading(notes, len(taken), len(left))


def _notes(assignment: Assignment, part: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the notes that a model takes of one part; those without a verbatim quote are left out."""
    prompt = load_prompt("retriever.notes")
    completion = assignment.require_model().ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(
                Role.USER,
                *numbered(part),
                Untrusted("question", assignment.inputs["question"]),
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

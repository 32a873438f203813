"""Drafts, rewrites and translates by a model; such a text is unproved until the judge has checked a criterion on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import BudgetExceeded, InvalidStepInput
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.excerpts import TextPart, divide, size_of
from workers.arms.extractive import count_words
from workers.arms.left_files import save_beside
from workers.arms.material import material, single_text
from workers.arms.reading import places_of_passages, read, whole_passages
from workers.arms.synthesis import Wish, fitting, numbered, room_for

PART_BYTES = 6_000
"""So much of a text is rewritten or translated by one call: the answer is as long, and must fit into its limit."""
MAX_PARTS = 20
UNPROVED = "a model wrote it; nothing proves it until the judge has checked it against a criterion"
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1}},
    "required": ["text"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class _Written:
    """A text, how many calls wrote it, and which passages were not read for it."""

    text: str
    parts: int
    warnings: Sequence[str] = ()
    unread: Sequence[Mapping[str, Any]] = ()


def draft(assignment: Assignment) -> StepResult:
    """Write a new text by an instruction, from the step's texts if there are any."""
    assignment.require_model()
    sources, warnings = material(assignment, required=False)
    wish = Wish(assignment.inputs["instruction"], "writer.draft", tuple(_terms(assignment)))
    reading = read(assignment, whole_passages(sources), wish)
    shown = fitting(reading.passages, room_for(assignment, wish), skips=True)
    text = _within_words(assignment, [*numbered(shown), Untrusted("instruction", wish.text)], wish.prompt)
    told = [*warnings, *reading.warnings()]
    return _answer(assignment, _Written(text, max(reading.parts, 1), told, reading.unread))


def rewrite(assignment: Assignment) -> StepResult:
    """Write the step's one text anew by an instruction."""
    return _by_parts(assignment, "writer.rewrite")


def translate(assignment: Assignment) -> StepResult:
    """Translate the step's one text."""
    return _by_parts(assignment, "writer.translate")


def _by_parts(assignment: Assignment, prompt: str) -> StepResult:
    """Write a text part by part. Raises BudgetExceeded, which has the text so far, if it can't pay for all."""
    model = assignment.require_model()
    source, warnings = single_text(assignment)
    room = min(PART_BYTES, model.room(Work.ANSWER) // 2)
    parts = _grouped(divide(source.name, source.text), room)
    if len(parts) > MAX_PARTS:
        raise InvalidStepInput(
            f"the text of step {assignment.name} has {size_of(source.text)} bytes, which are {len(parts)} parts; one "
            f"step can {assignment.action} {MAX_PARTS}: give it a part of the text"
        )
    asked: list[Part] = []
    if "instruction" in assignment.inputs:
        asked.append(Untrusted("instruction", assignment.inputs["instruction"]))
    written: list[str] = []
    for part in parts:
        assignment.checkpoint()
        share = part.size_bytes / size_of(source.text)
        try:
            text = _within_words(assignment, [Untrusted("text", part.text), *asked], prompt, share=share)
        except BudgetExceeded as exceeded:
            raise _with_text(exceeded, written, parts) from exceeded
        written.append(_spaced_as(part.text, text))
        assignment.report_progress(100 * len(written) / len(parts), f"part {len(written)} of {len(parts)}")
    return _answer(assignment, _Written("".join(written).strip(), len(parts), warnings))


def _grouped(pieces: Sequence[TextPart], room: int) -> list[TextPart]:
    """Join pieces that follow each other to parts of at most `room` bytes, or single pieces."""
    parts: list[TextPart] = []
    for piece in pieces:
        if parts and (parts[-1].size_bytes + piece.size_bytes <= room or not piece.text.strip()):
            parts[-1] = TextPart(piece.name, parts[-1].text + piece.text, parts[-1].begin)
        else:
            parts.append(piece)
    return parts


def _spaced_as(given: str, text: str) -> str:
    """Return the text with the white space around it that the given one has."""
    begin = given[: len(given) - len(given.lstrip())]
    end = given[len(given.rstrip()) :]
    return f"{begin}{text.strip()}{end}"


def _terms(assignment: Assignment, *, share: float = 1) -> list[Part]:
    inputs = assignment.inputs
    terms: list[Part] = []
    if "max_words" in inputs:
        terms.append(trusted("Write at most {} words.", max(1, round(inputs["max_words"] * share))))
    if "language" in inputs:
        terms += [trusted("Write in this language:"), Untrusted("language", inputs["language"])]
    if assignment.feedback:
        terms.append(Untrusted("feedback", assignment.feedback))
    return terms


def _within_words(assignment: Assignment, parts: Sequence[Part], prompt: str, *, share: float = 1) -> str:
    """Return what a model writes; a text of too many words is given back once to be made shorter."""
    asked = [*parts, *_terms(assignment, share=share)]
    text = _ask(assignment, [*asked, trusted("Write it.")], prompt)
    most = assignment.inputs.get("max_words")
    words = count_words(text)
    if most is None or words <= max(1, round(most * share)):
        return text
    shorter = [*asked, Untrusted("answer", text), trusted("This has {} words. Make it shorter.", words)]
    return _ask(assignment, shorter, prompt)


def _ask(assignment: Assignment, parts: Sequence[Part], name: str) -> str:
    prompt = load_prompt(name)
    completion = assignment.require_model().ask(
        [compose(Role.SYSTEM, prompt.fill()), compose(Role.USER, *parts)],
        _SCHEMA,
        work=Work.ANSWER,
        purpose=prompt.purpose,
    )
    return str(completion.value["text"])


def _answer(assignment: Assignment, written: _Written) -> StepResult:
    inputs, words = assignment.inputs, count_words(written.text)
    most = inputs.get("max_words")
    too_long = [f"{words} words, more than {most}"] if most is not None and words > most else []
    name = inputs.get("save_as")
    file, unkept = save_beside(assignment, name, written.text.encode()) if name else (None, [])
    output = {
        "summary": f"{count_of(words, 'word')}: {' '.join(written.text.split())[:160]}",
        "text": written.text,
        "words": words,
        "parts": written.parts,
        "unread": len(written.unread),
        "unread_places": places_of_passages(written.unread),
        "unproved": True,
        "unproved_reason": UNPROVED,
        "files": [file] if file else [],
    }
    return answer(assignment, output, warnings=[*written.warnings, *too_long, *unkept])


def _with_text(exceeded: BudgetExceeded, written: Sequence[str], parts: Sequence[TextPart]) -> BudgetExceeded:
    """Return the error of a budget that does not pay for all parts, with what is written."""
    details = {**exceeded.details, "text": "".join(written), "parts": len(written), "of_parts": len(parts)}
    done = f"{len(written)} of {count_of(len(parts), 'part')} are written (details.text)"
    return BudgetExceeded(f"{exceeded.message} {done}.", details=details)

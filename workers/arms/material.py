"""The texts that a step of the writer works on: its input `text`, or its attachments and the context."""

from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment
from workers.arms.judge_llm import text_of
from workers.arms.sources import CONTEXT_NAME, SourceText, read_sources, warnings_of

TEXT_NAME = "(text)"
"""The name by which the input `text` is cited."""


def material(assignment: Assignment, *, required: bool = True) -> tuple[list[SourceText], list[str]]:
    """Return the texts of a step, and warnings: its `text`, or else its attachments and the context.

    Raises InvalidStepInput if there is none and one is `required`.
    """
    sources, skipped = list[SourceText](), list[dict[str, str]]()
    given = assignment.inputs.get("text")
    if given is not None:
        sources.append(given_text(given))
    if given is None or "attachments" in assignment.inputs:
        read_texts, skipped = read_sources(assignment)
        sources += read_texts
    sources = [source for source in sources if source.text.strip()]
    if required and not sources:
        why = "; ".join(["", *warnings_of(skipped)])
        raise InvalidStepInput(
            f"step {assignment.name} has no text to {assignment.action}: attach a text file, or give it `text`{why}",
            details={"skipped": skipped[:20]},
        )
    return sources, warnings_of(skipped)


def given_text(value: Any) -> SourceText:
    """Return a text, or any other JSON value, as a source that can be cited."""
    return SourceText(TEXT_NAME, text_of(value))


def single_text(assignment: Assignment) -> tuple[SourceText, list[str]]:
    """Return the one text of a step, and warnings; the context counts only if there is no other.

    Raises InvalidStepInput if there are several.
    """
    sources, warnings = material(assignment)
    own = [source for source in sources if source.name != CONTEXT_NAME] or sources
    if len(own) > 1:
        raise InvalidStepInput(
            f"step {assignment.name} has {count_of(len(own), 'text')} and can {assignment.action} one: "
            "name one in `attachments`, or give it `text`"
        )
    return own[0], warnings

"""The writer: summarises texts, with a model in its own words, without one by their own sentences; and its actions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.llm.prompt import Part, Untrusted, trusted
from orchestrator.models.errors import InvalidStepInput, VerificationFailed
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.classification import classify
from workers.arms.convert import convert
from workers.arms.extraction import extract
from workers.arms.extractive import (
    WORD,
    Sentence,
    choose_sentences,
    count_words,
    sentences_of,
    with_words,
    words_of,
)
from workers.arms.free_text import draft, rewrite, translate
from workers.arms.material import material
from workers.arms.reading import places_of, read, whole_passages
from workers.arms.sources import SourceText
from workers.arms.synthesis import Proved, Wish, places_in, write_sentences
from workers.sandbox.selection import SandboxStatus

DEFAULT_WORDS = 150
MAX_SENTENCES = 10_000
"""So many sentences are read without a model."""


def make(_sandbox: SandboxStatus) -> Arm:
    """Return the writer."""
    return ActionArm(
        {
            "summarise": summarise,
            "extract": extract,
            "classify": classify,
            "draft": draft,
            "rewrite": rewrite,
            "translate": translate,
            "convert": convert,
        }
    )


def summarise(assignment: Assignment) -> StepResult:
    """Summarise the step's texts, each sentence with quotes.

    Without a model the summary is made of sentences that stand there (`mode` is extractive); with the input `language`
    it raises NoModel then.
    """
    if assignment.model is None and "language" not in assignment.inputs:
        return _extract_sentences(assignment)
    assignment.require_model()
    sources, warnings = material(assignment)
    wish = _summary_wish(assignment)
    reading = read(assignment, whole_passages(sources), wish)
    proved = _shortened(write_sentences(assignment, wish, reading.passages), _most_words(assignment))
    if not proved.sentences:
        why = f": {proved.missing}" if proved.missing else "."
        raise VerificationFailed(f"The model found nothing to summarise{why}")
    output = {
        "mode": "model",
        **_sentences(proved),
        "unread": len(reading.unread) + len(reading.passages) - proved.shown,
        "unread_places": reading.unread_places(),
    }
    told = [*proved.warnings(), *warnings, *reading.warnings(), *_length_warning(assignment, output)]
    return answer(assignment, output, evidence=places_in(output["citations"]), warnings=told)


def _summary_wish(assignment: Assignment) -> Wish:
    inputs = assignment.inputs
    terms: list[Part] = [trusted("Write at most {} words.", _most_words(assignment))]
    if "language" in inputs:
        terms += [trusted("Write in this language:"), Untrusted("language", inputs["language"])]
    return Wish(inputs.get("focus", "Summarise the passages."), "writer.summary", tuple(terms))


def _extract_sentences(assignment: Assignment) -> StepResult:
    sources, warnings = material(assignment)
    kept, unread = _read_sentences(assignment, sources)
    if unread:
        warnings.append(f"only the first {MAX_SENTENCES} sentences were read; {len(unread)} were not")
    wanted = words_of(WORD.findall(assignment.inputs.get("focus", "")))
    about = with_words(kept, wanted) if wanted else kept
    if not about:
        warnings.append("no sentence has a word of the focus: the summary is about the whole text")
    chosen = choose_sentences(about or kept, most_words=_most_words(assignment))
    if not chosen:
        raise InvalidStepInput(f"step {assignment.name} has no text with sentences of at least three words")
    proved = Proved([_as_written(sentence) for sentence in chosen], "", 0, len(kept))
    output = {
        "mode": "extractive",
        **_sentences(proved),
        "unread": len(unread),
        "unread_places": places_of(unread),
    }
    warnings += _length_warning(assignment, output)
    return answer(assignment, output, evidence=places_in(output["citations"]), warnings=warnings)


def _read_sentences(
    assignment: Assignment, sources: Sequence[SourceText]
) -> tuple[list[Sentence], list[tuple[str, int, int]]]:
    """Return the first MAX_SENTENCES sentences, and {file, first line, last line} of each other one."""
    kept, unread = list[Sentence](), list[tuple[str, int, int]]()
    for source in sources:
        assignment.checkpoint()
        for sentence in sentences_of(source):
            if len(kept) < MAX_SENTENCES:
                kept.append(sentence)
            else:
                unread.append((sentence.file, sentence.line, sentence.end_line))
    return kept, unread


def _as_written(sentence: Sentence) -> dict[str, Any]:
    citation = {"file": sentence.file, "line": sentence.line, "quote": sentence.quote}
    return {"text": " ".join(sentence.quote.split()), "citations": [citation]}


def _shortened(proved: Proved, most_words: int) -> Proved:
    """Leave out the last sentences that are too many words; the first one stays."""
    kept = list(proved.sentences)
    while len(kept) > 1 and sum(count_words(item["text"]) for item in kept) > most_words:
        kept.pop()
    return replace(proved, sentences=kept, left_out=proved.left_out + len(proved.sentences) - len(kept))


def _sentences(proved: Proved) -> dict[str, Any]:
    words = sum(count_words(item["text"]) for item in proved.sentences)
    return {
        "summary": f"{count_of(len(proved.sentences), 'sentence')}, {count_of(words, 'word')}",
        "text": proved.text,
        "sentences": proved.sentences,
        "citations": proved.citations,
        "words": words,
        "missing": proved.missing,
        "left_out": proved.left_out,
    }


def _most_words(assignment: Assignment) -> int:
    return int(assignment.inputs.get("max_words", DEFAULT_WORDS))


def _length_warning(assignment: Assignment, output: Mapping[str, Any]) -> list[str]:
    most = _most_words(assignment)
    return [f"{output['words']} words, more than {most}"] if output["words"] > most else []

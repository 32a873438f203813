"""Gives a text one of a client's labels: by a model, which quotes why, or without one by the labels' own words."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.extractive import WORD, words_of
from workers.arms.material import material
from workers.arms.reading import read, whole_passages
from workers.arms.sources import SourceText
from workers.arms.synthesis import Wish, fitting, numbered, places_in, proved_quotes, room_for

NO_LABEL = "(none)"
_NOT_QUOTED = "the model quoted nothing of the text for its label"
_QUOTES: Mapping[str, Any] = {
    "type": "array",
    "maxItems": 20,
    "items": {
        "type": "object",
        "properties": {"passage": {"type": "integer"}, "quote": {"type": "string"}},
        "required": ["passage", "quote"],
        "additionalProperties": False,
    },
}


def classify(assignment: Assignment) -> StepResult:
    """Return the label that fits the step's texts, null if none does.

    Without a model, the label of which all words occur most often (`method` is keywords); null if two occur equally
    often.
    """
    sources, warnings = material(assignment)
    if assignment.model is None:
        return _by_keywords(assignment, sources, warnings)
    labels = assignment.inputs["labels"]
    wish = Wish(_question(labels, assignment.inputs.get("about", "")), "writer.classify")
    reading = read(assignment, whole_passages(sources), wish)
    shown = fitting(reading.passages, room_for(assignment, wish), skips=True)
    prompt = load_prompt(wish.prompt)
    feedback: list[Part] = [Untrusted("feedback", assignment.feedback)] if assignment.feedback else []
    completion = assignment.model.ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(
                Role.USER,
                *numbered(shown),
                Untrusted("question", wish.text),
                *feedback,
                trusted("Choose the label."),
            ),
        ],
        _schema(labels),
        work=Work.ANSWER,
        purpose=prompt.purpose,
    )
    chosen = completion.value["label"]
    citations = list(proved_quotes(completion.value["quotes"], shown))
    label = None if chosen == NO_LABEL else chosen
    is_unproved = label is not None and not citations
    unread = len(reading.unread) + len(reading.passages) - len(shown)
    output = {
        "summary": f"{label or 'no label fits'}: {completion.value['reason'][:300]}",
        "label": label,
        "method": "model",
        "reason": completion.value["reason"],
        "citations": citations,
        "matched": [],
        "unproved": is_unproved,
        "unproved_reason": _NOT_QUOTED if is_unproved else "",
        "unread": unread,
    }
    return answer(
        assignment, output, evidence=places_in(citations), warnings=[*warnings, *reading.warnings()]
    )


def _question(labels: Sequence[str], about: str) -> str:
    lines = [f"Which label fits? {about}".strip(), *(f"- {label}" for label in labels)]
    return "\n".join(lines)


def _schema(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": 1_000},
            "label": {"enum": [*labels, NO_LABEL], "type": "string"},
            "quotes": _QUOTES,
        },
        "required": ["reason", "label", "quotes"],
        "additionalProperties": False,
    }


def _by_keywords(
    assignment: Assignment, sources: Sequence[SourceText], warnings: Sequence[str]
) -> StepResult:
    labels = assignment.inputs["labels"]
    wanted = {label: set(words_of(WORD.findall(label))) for label in labels}
    matched = _matches(assignment, sources, wanted)
    number = {item["word"]: item["count"] for item in matched}
    counts = {label: min((number.get(word, 0) for word in wanted[label]), default=0) for label in labels}
    most = max(counts.values())
    best = [label for label in labels if counts[label] == most]
    label = best[0] if most and len(best) == 1 else None
    if label:
        why = f"all its words occur {most} times, those of the others at most {_second(counts)} times"
    elif most:
        why = f"the words of {', '.join(best)} occur equally often, {most} times"
    else:
        why = "none of the labels has all its words in the text"
    places = [
        {"file": item["file"], "line": item["line"], "quote": item["quote"]}
        for item in matched
        if label and item["word"] in wanted[label]
    ]
    output = {
        "summary": f"{label or 'no label'}, by keywords: {why}",
        "label": label,
        "method": "keywords",
        "reason": why,
        "citations": places,
        "matched": [
            {"label": label, "word": item["word"], "count": item["count"]}
            for label in labels
            for item in matched
            if item["word"] in wanted[label]
        ],
        "unproved": label is not None,
        "unproved_reason": "keywords were counted; nobody read the text" if label else "",
        "unread": 0,
    }
    told = [*warnings, f"classified without a model, by keywords: {count_of(len(matched), 'word')} found"]
    return answer(assignment, output, evidence=places_in(places), warnings=told)


def _second(counts: Mapping[str, int]) -> int:
    return sorted(counts.values())[-2] if len(counts) > 1 else 0


def _matches(
    assignment: Assignment, sources: Sequence[SourceText], wanted: Mapping[str, set[str]]
) -> list[dict[str, Any]]:
    """Return for each word of a label that occurs, with or without an s at its end, its number and first place."""
    forms = {
        form: word
        for words in wanted.values()
        for word in words
        for form in (f"{word}s", word.removesuffix("s"), word)
    }
    found: dict[str, dict[str, Any]] = {}
    for source in sources:
        assignment.checkpoint()
        for number, line in enumerate(source.lines(), start=1):
            for text in WORD.findall(line):
                word = forms.get(text.casefold())
                if word is not None:
                    first = {"word": word, "count": 0, "file": source.name, "line": number, "quote": text}
                    found.setdefault(word, first)["count"] += 1
    return list(found.values())

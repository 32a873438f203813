"""Extracts values that fit a client's JSON Schema by a model; a value without a quote is listed as unproved."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import InvalidStepInput, VerificationFailed
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from orchestrator.rules.foreign_schema import adapt
from orchestrator.rules.json_schema import faults
from workers.arms.base import Assignment, answer
from workers.arms.excerpts import size_of
from workers.arms.extracted_value import Extract, Quoted, joined
from workers.arms.material import material
from workers.arms.reading import by_parts, places_of_passages, whole_passages
from workers.arms.synthesis import fitting, numbered, places_in, proved_quotes

MAX_LISTED = 100
_MOST_NAMED = 5
_KEPT = frozenset(("type", "enum", "description", "properties", "items", "anyOf", "additionalProperties"))
_QUOTES: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "pointer": {"type": "string"},
            "passage": {"type": "integer"},
            "quote": {"type": "string"},
        },
        "required": ["pointer", "passage", "quote"],
        "additionalProperties": False,
    },
}


def extract(assignment: Assignment) -> StepResult:
    """Return the values of the step's texts that fit its `schema`, or else the task's output schema.

    Long texts are read part by part, and the values of the parts are joined. Raises InvalidStepInput without a usable
    schema, VerificationFailed when the values break it after a correction or none has a quote.
    """
    assignment.require_model()
    schema, warnings = _schema(assignment)
    sources, told = material(assignment)
    passages = whole_passages(sources)
    question = _Question(assignment, schema)
    found, unread = by_parts(assignment, passages, room=question.room, ask=question.ask)
    extract = joined(found)
    if wrong := faults(schema, extract.filled(schema)):
        shown = passages if len(found) == 1 else extract.as_passages()
        extract = question.correct(fitting(shown, question.room(), skips=True), extract, wrong)
    value = extract.filled(schema)
    if wrong := faults(schema, value):
        raise _broken(value, wrong)
    quotes, unproved = extract.quotes(), extract.unproved()
    if unproved and not quotes:
        raise VerificationFailed(
            f"Nothing that the model extracted is proved: {count_of(len(unproved), 'value')} without a verbatim quote.",
            details={"value": value},
        )
    warnings += [*told, *_warnings(extract, unproved, unread=len(unread), total=len(passages))]
    output = {
        "summary": f"{count_of(len(quotes) + len(unproved), 'value')}, {len(quotes)} with a quote",
        "value": value,
        "quotes": quotes,
        "citations": [{name: item[name] for name in ("file", "line", "quote")} for item in quotes],
        "unproved": unproved,
        "conflicts": extract.conflicts[:MAX_LISTED],
        "parts": len(found),
        "unread": len(unread),
        "unread_places": places_of_passages(unread),
    }
    return answer(assignment, output, evidence=places_in(quotes), warnings=warnings)


def _warnings(extract: Extract, unproved: Sequence[str], *, unread: int, total: int) -> Iterator[str]:
    if unproved:
        named = ", ".join(unproved[:_MOST_NAMED])
        yield f"{count_of(len(unproved), 'value')} unproved, without a quote that shows it: {named}"
    if extract.conflicts:
        named = ", ".join(conflict["pointer"] for conflict in extract.conflicts[:_MOST_NAMED])
        yield f"the texts differ in {count_of(len(extract.conflicts), 'value')}: {named}"
    if unread:
        yield f"{unread} of {count_of(total, 'passage')} not read: there is no room for more parts"


def _schema(assignment: Assignment) -> tuple[dict[str, Any], list[str]]:
    given = assignment.inputs.get("schema", assignment.output_schema)
    if given is None:
        raise InvalidStepInput(
            f"step {assignment.name} has no schema: give it `schema`, or the task an `output_schema`"
        )
    try:
        return adapt(given, "schema")
    except ValueError as error:
        raise InvalidStepInput(f"step {assignment.name} can't extract by its schema: {error}") from error


def _broken(value: Any, wrong: Sequence[Any]) -> VerificationFailed:
    named = [_named(fault) for fault in wrong]
    return VerificationFailed(
        f"The extracted value breaks its schema: {named[0]}. If the texts need not say it, make it optional.",
        details={"value": value, "faults": named},
    )


def _named(fault: Any) -> str:
    place = "/".join(["", *map(str, fault.path)])
    return f"{place or 'the value'}: {fault.message}"


def _pointer(written: str, value: Any) -> str:
    """Return a pointer as meant: models leave out its first slash, or begin at their whole answer."""
    pointer = written if written.startswith("/") or not written else f"/{written}"
    has_member = isinstance(value, Mapping) and "value" in value
    return pointer if has_member or pointer.split("/")[1:2] != ["value"] else pointer.removeprefix("/value")


class _Question:
    """Asks a model for the values in passages."""

    def __init__(self, assignment: Assignment, schema: Mapping[str, Any]) -> None:
        self._assignment = assignment
        self._value_schema = partial_schema(schema)
        self._schema = {
            "type": "object",
            "properties": {"value": self._value_schema, "quotes": _QUOTES},
            "required": ["value", "quotes"],
            "additionalProperties": False,
        }
        self._asked: list[Part] = [Untrusted("schema", json.dumps(schema, ensure_ascii=False))]
        if "instruction" in assignment.inputs:
            self._asked.append(Untrusted("instruction", assignment.inputs["instruction"]))
        if assignment.feedback:
            self._asked.append(Untrusted("feedback", assignment.feedback))

    def room(self) -> int:
        """Return how many bytes of passages fit beside the schema, which may have to be said in words, too."""
        beside = sum(size_of(part.text) for part in self._asked) + size_of(json.dumps(self._schema))
        return max(0, self._assignment.require_model().room(Work.ANSWER) - beside)

    def ask(self, shown: Sequence[Mapping[str, Any]], *more: Part) -> Extract:
        """Return the values that a model finds in passages, with those of its quotes that stand there."""
        prompt = load_prompt("writer.extract")
        completion = self._assignment.require_model().ask(
            [
                compose(Role.SYSTEM, prompt.fill()),
                compose(Role.USER, *numbered(shown), *self._asked, *more, trusted("Extract it.")),
            ],
            self._schema,
            work=Work.ANSWER,
            purpose=prompt.purpose,
        )
        value = completion.value["value"]
        quotes = [
            Quoted(_pointer(item["pointer"], value), **place)
            for item in completion.value["quotes"]
            for place in proved_quotes([item], shown)
        ]
        return Extract.of(value, quotes)

    def correct(self, shown: Sequence[Mapping[str, Any]], extract: Extract, wrong: Sequence[Any]) -> Extract:
        """Return what the model makes of a value that breaks the schema; conflicts between parts are kept."""
        corrected = self.ask(
            shown,
            Untrusted("value", json.dumps(extract.value(), ensure_ascii=False)),
            Untrusted("faults", "\n".join(map(_named, wrong))),
            trusted("The value breaks its schema: correct it by the passages."),
        )
        corrected.conflicts += extract.conflicts
        return corrected


def partial_schema(schema: Any) -> Any:
    """Return a schema for what one part of a text says: nothing is required, null stands for what it does not say."""
    if not isinstance(schema, Mapping):
        return schema
    kept = {word: value for word, value in schema.items() if word in _KEPT}
    if isinstance(kept.get("properties"), Mapping):
        kept["properties"] = {name: partial_schema(part) for name, part in kept["properties"].items()}
    for word in ("items", "additionalProperties"):
        if word in kept:
            kept[word] = partial_schema(kept[word])
    if "anyOf" in kept:
        kept["anyOf"] = [*(partial_schema(part) for part in kept["anyOf"]), {"type": "null"}]
    if "enum" in kept and None not in kept["enum"]:
        kept["enum"] = [*kept["enum"], None]
    if "type" in kept:
        kinds = [kept["type"]] if isinstance(kept["type"], str) else kept["type"]
        kept["type"] = list(dict.fromkeys([*kinds, "null"]))
    return kept

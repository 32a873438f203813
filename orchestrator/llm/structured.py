"""Gets a value of a given JSON Schema out of a model: by the best means its server has, always checked again by us."""

import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import ModelAnswerCut, ModelAnswerInvalid, ModelRequestRejected
from orchestrator.json_schema import Fault, faults
from orchestrator.llm.interface import Answer, Finish, Form, Message, Query, Role
from orchestrator.llm.portable import portable, without_nulls

MAX_CORRECTIONS = 2
_MAX_CANDIDATES = 64
_MAX_DEPTH = 200
_FENCED = re.compile(r"```[\w+-]*\s*\n(.*?)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class FormMemory:
    """Which form each model's server was last found to understand; process-local, for finding out is cheap."""

    def __init__(self) -> None:
        self._best: dict[str, Form] = {}
        self._lock = threading.Lock()

    def forms(self, model: str, forms: Sequence[Form]) -> Sequence[Form]:
        """Return the forms worth a try, the best first."""
        with self._lock:
            best = self._best.get(model, forms[0])
        return forms[forms.index(best) :] if best in forms else forms

    def remember(self, model: str, form: Form) -> None:
        """Start with `form` from now on."""
        with self._lock:
            self._best[model] = form


@dataclass(frozen=True)
class Shaped:
    """An answer and the value in it."""

    answer: Answer
    value: Any
    form: Form


def converse(
    query: Query,
    schema: Mapping[str, Any],
    *,
    ask: Callable[[Query], Answer],
    forms: Sequence[Form],
    memory: FormMemory,
    model: str,
) -> Shaped:
    """Ask until the answer holds a value of `schema`; a wrong one goes back with its faults, at most twice.

    `ask` sends one query, `model` is the key in `memory`. Raises ModelAnswerInvalid or ModelAnswerCut, and what
    `ask` raises.
    """
    asked, answer = _first_answer(query, schema, ask=ask, forms=forms, memory=memory, model=model)
    for correction in range(MAX_CORRECTIONS + 1):
        value, wrong = read_value(answer.text, schema)
        if not wrong:
            return Shaped(answer, value, asked.form)
        if answer.finish is Finish.LENGTH:
            raise ModelAnswerCut(
                f"The answer does not fit into {query.max_output_tokens} tokens.",
                details={"model": answer.model},
            )
        if correction < MAX_CORRECTIONS:
            asked = replace(asked, messages=(*asked.messages, *_correction(answer.text, wrong)))
            answer = ask(asked)
    raise ModelAnswerInvalid(
        f"The answer is still wrong after {MAX_CORRECTIONS} corrections: {wrong[0]}.",
        details={"model": answer.model, "errors": wrong[:5]},
    )


def read_value(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return the first JSON value in `text` that `schema` accepts, else (None, what is wrong with the best one)."""
    first: list[str] = []
    for candidate in _candidates(text):
        wrong = _unstorable(candidate)
        if not wrong:
            value = without_nulls(candidate, schema)
            wrong = [_in_words(fault) for fault in faults(schema, value)]
            if not wrong:
                return value, []
        first = first or wrong
    return None, first or ["there is no JSON value in it"]


def _first_answer(
    query: Query,
    schema: Mapping[str, Any],
    *,
    ask: Callable[[Query], Answer],
    forms: Sequence[Form],
    memory: FormMemory,
    model: str,
) -> tuple[Query, Answer]:
    """Go down the ladder of forms while the server rejects the request; keep in mind where it held."""
    strict = portable(schema)
    usable = [form for form in forms if form is not Form.JSON_SCHEMA or strict or Form.JSON_OBJECT in forms]
    ladder = memory.forms(model, usable)
    rejected: ModelRequestRejected | None = None
    for form in ladder:
        asked = _in_form(query, form, schema, strict)
        try:
            answer = ask(asked)
        except ModelRequestRejected as error:
            if error.details.get("status") not in (400, 422):
                raise
            rejected = rejected or error
            continue
        if rejected is not None:
            memory.remember(model, form)
        return asked, answer
    assert rejected is not None  # noqa: S101  # a ladder has a rung
    raise rejected


def _in_form(query: Query, form: Form, schema: Mapping[str, Any], strict: dict[str, Any] | None) -> Query:
    if form is Form.JSON_SCHEMA:
        return replace(query, form=form, schema=strict or dict(schema), is_strict=strict is not None)
    told = Message(
        Role.SYSTEM,
        "Answer with one JSON value and nothing else. It must follow this JSON Schema:\n"
        + json.dumps(schema, ensure_ascii=False),
    )
    turns = query.messages
    first = next((at for at, turn in enumerate(turns) if turn.role is not Role.SYSTEM), len(turns))
    return replace(query, form=form, messages=(*turns[:first], told, *turns[first:]))


def _correction(text: str, wrong: Sequence[str]) -> tuple[Message, Message]:
    listed = "\n".join(f"- {fault}" for fault in wrong)
    told = f"That answer can't be used:\n{listed}\nAnswer again with the whole, corrected JSON value and nothing else."
    return Message(Role.ASSISTANT, text or "(empty)"), Message(Role.USER, told)


def _candidates(text: str) -> Iterator[Any]:
    """Yield the JSON values in `text`: all of it, what is fenced, then what begins at a brace or bracket."""
    for whole in (text, *_FENCED.findall(text)[:_MAX_CANDIDATES]):
        try:
            yield _DECODER.decode(whole.strip())
        except (ValueError, RecursionError):
            continue
    position = tried = 0
    while tried < _MAX_CANDIDATES and (opening := _OPENING.search(text, position)):
        tried += 1
        try:
            value, position = _DECODER.raw_decode(text, opening.start())
            yield value
        except (ValueError, RecursionError):
            position = opening.end()


def _in_words(fault: Fault) -> str:
    return f"{'.'.join(map(str, fault.path)) or 'the value'} {fault.message}"


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond what can be kept")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _unstorable(value: Any) -> list[str]:
    """Say what of the value no database could keep."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            return [f"the value is nested deeper than {_MAX_DEPTH} levels"]
        if isinstance(item, str) and _UNSTORABLE.search(item):
            return ["the value holds a NUL character or half of a surrogate pair"]
        if isinstance(item, dict):
            waiting.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list):
            waiting.extend((part, depth + 1) for part in item)
    return []

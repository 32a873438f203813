"""Gets a value of a given JSON Schema out of a model: by the best means its server has, always checked again by us."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.llm.answer_text import storable, values_in, without_reasoning
from orchestrator.llm.interface import Answer, Finish, Form, Query
from orchestrator.llm.portable import portable, verdicts_in, without_nulls
from orchestrator.llm.prompt import Part, Role, Untrusted, compose, extended, of_registry, ours
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.model_errors import ModelAnswerCut, ModelAnswerInvalid, ModelRequestRejected
from orchestrator.rules.json_schema import Fault, faults

MAX_CORRECTIONS = 2
_MAX_DEPTH = 200
_CHARACTERS_A_TOKEN = 8


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
        is_cut = answer.finish is Finish.LENGTH
        if not wrong and not (is_cut and values_in(answer.text).breaks_off):
            return Shaped(replace(answer, text=without_reasoning(answer.text)), value, asked.form)
        if is_cut:
            raise ModelAnswerCut(
                f"The answer does not fit into {query.max_output_tokens} tokens.",
                details={"model": answer.model},
            )
        if correction < MAX_CORRECTIONS:
            asked = replace(asked, messages=extended(asked.messages, *_correction(answer.text, wrong, asked)))
            answer = _corrected(asked, ask=ask, wrong=wrong[0])
    raise ModelAnswerInvalid(
        f"The answer is still wrong after {MAX_CORRECTIONS} corrections: {wrong[0]}.",
        details={"model": answer.model, "errors": wrong[:5]},
    )


def read_value(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return the last JSON value in `text` that `schema` accepts, else (None, what is wrong).

    Drafts come before the answer, and reasoning is left out. It is also wrong to leave open which value is meant: a
    later one has the schema's members and breaks it, or an earlier one fits and has another verdict.
    """
    read = [_checked(candidate, schema) for candidate in values_in(text).values]
    fitting = [value for value, wrong in read if not wrong]
    last_meant = next(
        (wrong for value, wrong in reversed(read) if not wrong or _is_meant(value, schema)), None
    )
    if last_meant or not fitting:
        return None, last_meant or next((wrong for _, wrong in read), ["there is no JSON value in it"])
    if differing := _contradiction(fitting, schema):
        return None, [
            f"it holds {len(fitting)} values that differ in {differing}: give one, your final answer"
        ]
    return fitting[-1], []


def _checked(candidate: Any, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return a value with its meaningless nulls taken out, and its faults."""
    if wrong := _unstorable(candidate):
        return candidate, wrong
    value = without_nulls(candidate, schema)
    return value, [_in_words(fault) for fault in faults(schema, value)]


def _is_meant(value: Any, schema: Mapping[str, Any]) -> bool:
    """Tell whether a value that breaks the schema was meant to follow it."""
    return isinstance(value, Mapping) and not value.keys().isdisjoint(schema.get("properties", ()))


def _contradiction(fitting: Sequence[Any], schema: Mapping[str, Any]) -> str:
    """Return where the values differ in a truth value, which the schema declares; an empty string if nowhere."""
    final = dict(verdicts_in(fitting[-1], schema))
    for earlier in fitting[:-1]:
        for path, said in verdicts_in(earlier, schema):
            if path in final and final[path] is not said:
                return ".".join(path)
    return ""


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
            rejected = error
            continue
        if rejected is not None:
            memory.remember(model, form)
        return asked, answer
    assert rejected is not None  # noqa: S101  # a ladder has a rung
    raise rejected


def _in_form(query: Query, form: Form, schema: Mapping[str, Any], strict: dict[str, Any] | None) -> Query:
    if form is Form.JSON_SCHEMA:
        return replace(query, form=form, schema=strict or dict(schema), is_strict=strict is not None)
    told = compose(
        Role.SYSTEM,
        ours("Answer with one JSON value and nothing else. It must follow this JSON Schema:"),
        of_registry(json.dumps(schema, ensure_ascii=False)),
    )
    turns = query.messages
    first = next((at for at, turn in enumerate(turns) if turn.role is not Role.SYSTEM), len(turns))
    return replace(query, form=form, messages=(*turns[:first], told, *turns[first:]))


def _corrected(asked: Query, *, ask: Callable[[Query], Answer], wrong: str) -> Answer:
    try:
        return ask(asked)
    except BudgetExceeded as exceeded:
        exceeded.details["earlier_error"] = {
            "code": ModelAnswerInvalid.code,
            "message": f"The model's answer had to be corrected: {wrong}",
        }
        raise


def _correction(text: str, wrong: Sequence[str], asked: Query) -> tuple[Part, ...]:
    """Return the answer, as far as it can be sent, and what is wrong with it."""
    # what a database can't keep, a request can't carry either; reasoning is paid for again by the token
    said = storable(without_reasoning(text))[-_CHARACTERS_A_TOKEN * asked.max_output_tokens :]
    return (
        ours("You answered before:"),
        Untrusted("answer", said or "(empty)"),
        ours("That answer can't be used:"),
        Untrusted("faults", "\n".join(f"- {fault}" for fault in wrong)),
        ours("Answer again with the whole, corrected JSON value and nothing else."),
    )


def _in_words(fault: Fault) -> str:
    return f"{'.'.join(map(str, fault.path)) or 'the value'} {fault.message}"


def _unstorable(value: Any) -> list[str]:
    """Say what of the value no database could keep."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            return [f"the value is nested deeper than {_MAX_DEPTH} levels"]
        if isinstance(item, str) and storable(item) != item:
            return ["the value holds a NUL character or half of a surrogate pair"]
        if isinstance(item, dict):
            waiting.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list):
            waiting.extend((part, depth + 1) for part in item)
    return []

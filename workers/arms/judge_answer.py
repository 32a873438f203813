"""The answer of a task: what its plan names, else what its last step says, else what a model writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from orchestrator.lifecycle.output_offload import INLINE_BYTES
from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models import record
from orchestrator.models.errors import InvalidStepInput, MustWait, StepError
from orchestrator.models.model_work import Work
from orchestrator.planner.references import resolve
from workers.arms.base import Model
from workers.arms.excerpts import size_of
from workers.arms.judge_llm import outputs_within, text_of
from workers.arms.judge_rules import RoundView

log = structlog.get_logger(__name__)

MAX_CHARACTERS = 50_000
"""The longest answer as text; a longer one is cut, and is whole in the step's output."""
_SPOKEN = ("answer", "explanation", "text", "diff", "values", "value", "label")
"""Members of an output that are an answer by themselves, in order of preference."""
NOTHING = "(nothing)"
"""An empty list or object, as text."""
_FIRST = ("file", "line", "row", "column", "name", "before", "after")
"""The columns of a table that come first, in this order."""
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "steps": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["answer", "steps"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Answer:
    """The answer as text, and as JSON values if they fit into a row; `source` is plan, step, model or summary."""

    text: str
    source: str
    value: Any = None
    warnings: tuple[str, ...] = ()


def chosen_answer(view: RoundView) -> Answer | None:
    """Return the answer that the plan names, or that its only last step gives; None if there is neither."""
    outputs = view.outputs()
    if view.plan.result is None:
        value = _spoken(view, outputs)
        return None if value is None else Answer(_cut(rendered(value)), "step")
    try:
        value = resolve(view.plan.result, outputs)
    except InvalidStepInput as missing:
        log.info("answer.missing", reason=missing.message)
        return None
    is_small = len(record.encode(value).encode()) <= INLINE_BYTES
    return Answer(_cut(rendered(value)), "plan", value if is_small else None)


def written_answer(view: RoundView, model: Model) -> Answer | None:
    """Return the answer that a model writes from the outputs, with the steps it names; None when no model answers.

    Does not wait for a model that is busy: the verdict would have to be paid for again.
    """
    outputs = {name: text_of(output) for name, output in view.outputs().items()}
    prompt = load_prompt("judge.answer")
    try:
        room = model.room(Work.ANSWER) - size_of(view.contract.goal)
        completion = model.ask(
            [compose(Role.SYSTEM, prompt.fill()), compose(Role.USER, *_question(view, outputs, room))],
            _SCHEMA,
            work=Work.ANSWER,
            purpose=prompt.purpose,
        )
    except (StepError, MustWait) as away:
        log.warning("answer.no_model", code=away.code)
        return None
    text = str(completion.value["answer"]).strip()
    if not text:
        return None
    named = [name for name in completion.value["steps"] if name in outputs]
    unproved = () if named else ("the answer is unproved: the model named no step that it is from",)
    return Answer(_cut(text), "model", warnings=unproved)


def rendered(value: Any) -> str:
    """Return a JSON value as text for people: places as file:line, records as a table, other lists as lines."""
    if isinstance(value, str):
        return value
    if value in ([], {}):
        return NOTHING
    if isinstance(value, list) and value and all(_is_place(item) for item in value):
        return "\n".join(map(_place, value))
    if isinstance(value, list) and value:
        return _table(value) if _are_records(value) else "\n".join(f"- {_inline(item)}" for item in value)
    if _is_table(value):
        return _rows(value["columns"], value["rows"]) if value["rows"] else NOTHING
    if isinstance(value, Mapping) and value:
        return "\n".join(_member(name, item) for name, item in value.items())
    return json.dumps(value, ensure_ascii=False)


def _spoken(view: RoundView, outputs: Mapping[str, Any]) -> Any:
    """Return what the only last step says, not counting steps that verify; None if there is no such thing."""
    verifying = {step.id for step in view.plan.steps if (step.arm, step.action) == ("judge", "verify")}
    needed = {name for step in view.plan.steps if step.id not in verifying for name in step.depends_on}
    last = [step.id for step in view.plan.steps if step.id not in needed | verifying]
    output = outputs.get(last[0]) if len(last) == 1 else None
    if not isinstance(output, Mapping):
        return None
    if "summary" not in output:
        # an arm of one's own: its output is what it says, a scalar as {"value": scalar}
        return output.get("value") if output.keys() == {"value"} else dict(output) or None
    return next((output[name] for name in _SPOKEN if output.get(name) not in (None, "", [], {})), None)


def _question(view: RoundView, outputs: Mapping[str, str], room: int) -> list[Part]:
    parts: list[Part] = [Untrusted("goal", view.contract.goal)]
    for name, text in outputs_within(outputs, room, lambda _: [view.contract.goal]).items():
        parts += [Untrusted("step", name), Untrusted("output", text)]
    return [*parts, trusted("Write the answer.")]


def _is_place(item: Any) -> bool:
    return isinstance(item, Mapping) and {"file", "line"} <= item.keys()


def _place(item: Mapping[str, Any]) -> str:
    """Return a place as compilers write it, with the text that stands there or what is said about it."""
    said = next((item[name] for name in ("quote", "message", "name") if item.get(name)), "")
    return f"{item['file']}:{item['line']}: {said}".rstrip(": ")


def _are_records(items: Sequence[Any]) -> bool:
    """Tell whether all items are objects with the same members, none of which holds others."""
    if not all(isinstance(item, Mapping) and item for item in items):
        return False
    names = list(items[0])
    return all(
        list(item) == names and not any(isinstance(value, (list, dict)) for value in item.values())
        for item in items
    )


def _is_table(value: Any) -> bool:
    """Tell whether a value is {columns: [name], rows: [[cell]]}."""
    if not isinstance(value, Mapping) or value.keys() != {"columns", "rows"}:
        return False
    rows = value["rows"]
    return (
        isinstance(value["columns"], list)
        and isinstance(rows, list)
        and all(isinstance(row, list) for row in rows)
    )


def _table(records: Sequence[Mapping[str, Any]]) -> str:
    # the database keeps no order of members
    names = sorted(records[0], key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return _rows(names, [[item[name] for name in names] for item in records])


def _rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [list(map(_cell, row)) for row in rows]
    lines = [list(map(_cell, names)), ["---"] * len(names), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(_inline(value).split()).replace("|", "\\|")


def _member(name: str, value: Any) -> str:
    if (isinstance(value, (list, dict)) and value) or (isinstance(value, str) and "\n" in value):
        return f"{name}:\n" + "\n".join(f"  {line}" for line in rendered(value).splitlines())
    return f"{name}: {NOTHING if value in ([], {}) else _inline(value)}"


def _inline(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    return (
        f"{text[:MAX_CHARACTERS]}\n[{len(text) - MAX_CHARACTERS:,} more characters: see the steps' outputs]"
    )

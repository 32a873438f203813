"""Checks what the steps of a plan take from each other, before anything is spent on a step that can't work."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from orchestrator.models import record
from orchestrator.models.arm_capability import Action
from orchestrator.models.plan import Offer, PlanStep
from orchestrator.planner.offers import StepGround, settled
from orchestrator.planner.plain_schema import MAX_PARTS, plain_schema
from orchestrator.planner.plan_schema import ARTIFACT_PATTERN
from orchestrator.planner.references import FROM, POINTER, fault_of, is_reference, references_in
from orchestrator.planner.step_reader import PlanFaults

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_PLACEHOLDER = re.compile(r"\{\{ ?(?:steps\.)?([a-z][a-z0-9_-]{0,63})((?:[./][A-Za-z0-9_]{1,64}){0,8}) ?\}\}")
_MAX_LISTED = 12
_KEPT_SCHEMAS = 256
MAX_ANSWER_CHARACTERS = 16_384
"""The longest `result` of a plan, in JSON."""
MAX_WORK = 300_000
"""How many schemas are compared for one plan, about half a CPU second. What is left then counts as fitting."""
_Path = tuple[str | int, ...]
# the work that is left for the current plan
_left: ContextVar[list[int]] = ContextVar("schemas that may still be compared for the current plan")


@contextmanager
def bounded_work() -> Iterator[None]:
    """Limit the work of all checks in the block to MAX_WORK: tenants write the schemas and the references."""
    counting = _left.set([MAX_WORK])
    try:
        yield
    finally:
        _left.reset(counting)


def _has_work_left(amount: int = 1) -> bool:
    """Take some of the work that is left; False when there is none."""
    left = _left.get(None)
    if left is None:
        return True
    left[0] -= amount
    return left[0] > 0


def fitting(
    steps: Sequence[PlanStep | None], ground: StepGround, *, answer: Any = None
) -> list[PlanStep | None]:
    """Return the steps without the offers that do not fit the other steps, or the plan's answer.

    An offer is compared with the kept offers of the steps before it and with the preferred ones of those after it. So
    in the end all kept offers of two steps fit each other. A step without a fitting offer keeps its preferred one.
    """
    if not any(step and step.offers for step in steps):
        return list(steps)
    flow = _Flow([step for step in steps if step], ground, answer)
    return [flow.settle(step) if step else None for step in steps]


def check_data_flow(
    steps: Sequence[PlanStep | None], ground: StepGround, faults: PlanFaults, *, is_ours: bool
) -> None:
    """Add a fault for each reference to something that the other step's action never puts out, or of another type.

    Also for each `{{step.member}}` in a text, because nothing is substituted there. A plan that `is_ours` has further
    faults: a criterion on a place that its step never puts out, an output where a file belongs, and a judge.verify
    that has nothing to check. Of the steps' offers only the preferred ones are checked: see `fitting`.
    """
    known = {step.id: step for step in steps if step}
    for index, step in enumerate(steps):
        if step is None:  # a fault of its own
            continue
        for member, inputs in (("inputs", step.inputs), ("repair_inputs", step.repair_inputs or {})):
            place = f"steps.{index}.{member}"
            for path, reference in references_in(inputs):
                if fault_of(reference) or reference[FROM] not in known:
                    continue  # reported where the steps are read
                source = known[reference[FROM]].preferred
                link = _Link(path, reference, ground.action_of(step.preferred), ground.action_of(source))
                if message := link.fault(source, is_ours=is_ours):
                    faults.add(_dotted(place, path), message)
            for path, text in _texts_in(inputs):
                if message := _placeholder_fault(text, known):
                    faults.add(_dotted(place, path), message)
        if is_ours:
            _check_own(step, f"steps.{index}", known, ground, faults=faults)


class _Flow:
    """The references between the steps of a plan, while their offers are settled one step after the other."""

    def __init__(self, steps: Sequence[PlanStep], ground: StepGround, answer: Any) -> None:
        self._ground = ground
        self._answer = [reference for _, reference in references_in(answer) if not fault_of(reference)]
        self._offers: dict[str, tuple[Offer, ...]] = {step.id: (step.preferred,) for step in steps}
        self._read_by: dict[str, list[tuple[str, _Path, Mapping[str, Any]]]] = {}
        self._reads: dict[str, list[tuple[str, _Path, Mapping[str, Any]]]] = {}
        for step in steps:
            for inputs in (step.inputs, step.repair_inputs or {}):
                for path, reference in references_in(inputs):
                    if not fault_of(reference) and reference[FROM] in self._offers:
                        self._reads.setdefault(step.id, []).append((reference[FROM], path, reference))
                        self._read_by.setdefault(reference[FROM], []).append((step.id, path, reference))

    def settle(self, step: PlanStep) -> PlanStep:
        """Return the step with its fitting offers, to which the offers of later steps are compared."""
        if not step.offers:
            return step
        if not _has_work_left():
            return replace(step, offers=())
        objections = {offer: self._objection(step, offer) for offer in step.offers}
        able = [offer for offer, objection in objections.items() if not objection]
        if not able:
            return replace(step, offers=())
        self._offers[step.id] = tuple(able)
        reasons = {str(offer): objection for offer, objection in objections.items() if objection}
        return replace(step, **settled(able, {**step.excluded, **reasons}))

    def _objection(self, step: PlanStep, offer: Offer) -> str | None:
        action = self._ground.action_of(offer)
        for link, source, note in self._links(step, offer):
            if not _has_work_left():
                return None
            if fault := link.fault(source):
                return f"{fault}{note}"
        own = [_own_pointer(criterion["check"] or {}, step.id) for criterion in step.acceptance_criteria]
        own += [reference.get(POINTER, "") for reference in self._answer if reference[FROM] == step.id]
        for pointer in own:
            if pointer is not None and not schemas_at(action.output_schema, _tokens(pointer)):
                return _missing(step.id, offer, action, pointer)
        return None

    def _links(self, step: PlanStep, offer: Offer) -> Iterator[tuple["_Link", Offer, str]]:
        """Yield each reference from or to the step if this offer does it, its source, and a note for a message."""
        action = self._ground.action_of(offer)
        for name, path, reference in self._reads.get(step.id, ()):
            for source in self._offers[name]:
                yield _Link(path, reference, action, self._ground.action_of(source)), source, ""
        for name, path, reference in self._read_by.get(step.id, ()):
            for reader in self._offers[name]:
                link = _Link(path, reference, self._ground.action_of(reader), action)
                yield link, offer, f" (step {name!r} reads it)"


@dataclass(frozen=True)
class _Link:
    """A reference of an action's inputs, at a path, to the output of another step's action."""

    path: _Path
    reference: Mapping[str, Any]
    reader: Action
    action: Action

    def fault(self, source: Offer, *, is_ours: bool = False) -> str | None:
        """Return why the reference can't be followed; `source` is the offer that has the other action."""
        name, pointer = self.reference[FROM], self.reference.get(POINTER, "")
        given = schemas_at(self.action.output_schema, _tokens(pointer))
        if not given:
            return _missing(name, source, self.action, pointer)
        wanted = schemas_at(self.reader.input_schema, [str(part) for part in self.path])
        if is_ours and any(one.get("pattern") == ARTIFACT_PATTERN for one in [*wanted, *_items(wanted)]):
            return "must be an attachment of the task: the output of a step is not a file"
        if wanted and not any(_may_fit(one, other) for one in given for other in wanted):
            shown = f"{pointer or 'the output'} of step {name!r}"
            return f"takes {_described(wanted)}, and {shown} is {_described(given)}"
        return None


def _own_pointer(rule: Mapping[str, Any], step: str) -> str | None:
    """Return the place in the step's own output that must exist for a rule, or None if it names no such place."""
    if rule.get("step", step) != step or rule.get("exists") is False:
        return None
    return str(rule.get("pointer", ""))


def check_answer(
    answer: Any, steps: Sequence[PlanStep | None], ground: StepGround, faults: PlanFaults
) -> None:
    """Add a fault for each reference of a plan's `result` to something that no step puts out, and for a large one."""
    if answer is not None and len(record.encode(answer)) > MAX_ANSWER_CHARACTERS:
        faults.add("result", f"has more than {MAX_ANSWER_CHARACTERS:,} characters: refer to outputs instead")
        return
    known = {step.id: step for step in steps if step}
    for path, reference in references_in(answer):
        message = fault_of(reference)
        if message is None and reference[FROM] not in known:
            message = f"there is no step {reference[FROM][:64]!r}"
        if message is None:
            source, pointer = known[reference[FROM]].preferred, reference.get(POINTER, "")
            action = ground.action_of(source)
            if not schemas_at(action.output_schema, _tokens(pointer)):
                message = _missing(reference[FROM], source, action, pointer)
        if message:
            faults.add(_dotted("result", path), message)


def schemas_at(schema: Mapping[str, Any], path: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the schemas of what can stand at a path of a value of `schema`; empty if nothing ever can."""
    found: list[Mapping[str, Any]] = [_plain(_Same(schema))] if _has_work_left() else [{}]
    for name in path:
        if not _has_work_left(sum(map(_size, found))):
            return [{}]
        found = [part for one in found for choice in _choices(one) for part in _below(choice, name)]
    return found


def _check_own(
    step: PlanStep, place: str, known: Mapping[str, PlanStep], ground: StepGround, *, faults: PlanFaults
) -> None:
    for number, criterion in enumerate(step.acceptance_criteria):
        rule = criterion["check"] or {}
        source = known.get(rule.get("step", step.id))
        pointer = rule.get("pointer", "")
        if source and rule.get("exists") is not False:
            action = ground.action_of(source.preferred)
            if not schemas_at(action.output_schema, _tokens(pointer)):
                message = _missing(source.id, source.preferred, action, pointer)
                faults.add(f"{place}.acceptance_criteria.{number}.check", message)
    if (step.arm, step.action) == ("judge", "verify") and not step.inputs.keys() & {
        "check",
        "checks",
        "citations",
    }:
        faults.add(
            f"{place}.inputs",
            'has nothing to check: give checks, [{"text": "...", "check": {"pointer": "/member", "equals": 1}}] on '
            "`value` or `values`, or citations",
        )


def _missing(step: str, offer: Offer, action: Action, pointer: str) -> str:
    """Return the message: nothing stands at the pointer, and what stands at its longest part that exists."""
    schema, tokens = action.output_schema, _tokens(pointer)
    while tokens and not schemas_at(schema, tokens):
        tokens = tokens[:-1]
    above = "/".join(["", *tokens])
    choices = [choice for one in schemas_at(schema, tokens) for choice in _choices(one)]
    members = [name for choice in choices for name in choice.get("properties", ())]
    if not members and any(choice.get("type") == "array" for choice in choices):
        members = ["0"]
    listed = ", ".join(f"{above}/{name}" for name in members[:_MAX_LISTED])
    offered = f"; there is {listed}" if listed else ""
    return f"the output of step {step!r} ({offer}) has no {pointer[:200]!r}{offered}"


def _placeholder_fault(text: str, known: Mapping[str, PlanStep]) -> str | None:
    for found in _PLACEHOLDER.finditer(text):
        if found[1] in known:
            pointer = found[2].replace(".", "/")
            return (
                f"nothing is substituted in a text ({found[0]}): write "
                f'{{"$from": "{found[1]}", "pointer": "{pointer}"}} as the whole value of an input'
            )
    return None


def _texts_in(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, str):
            yield path, node
        elif isinstance(node, dict) and not is_reference(node):
            waiting.extend(((*path, name), child) for name, child in node.items())
        elif isinstance(node, list):
            waiting.extend(((*path, index), child) for index, child in enumerate(node))


def _may_fit(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether some value of schema `given` can be a value of `wanted`, as far as types and members tell."""
    return not _has_work_left(_size(given) + _size(wanted)) or any(
        not _has_work_left() or _one_fits(one, other) for one in _choices(given) for other in _choices(wanted)
    )


def _one_fits(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    kinds, others = _kinds(given), _kinds(wanted)
    shared = kinds & others if kinds and others else {"any"}
    if shared == {"object"}:
        is_closed = given.get("additionalProperties") is False
        return not is_closed or set(wanted.get("required", ())) <= set(given.get("properties", ()))
    if shared == {"array"}:
        return _may_fit(given.get("items", {}), wanted.get("items", {}))
    return bool(shared)


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the types of a schema's values, null aside; integers count as numbers. Empty: any."""
    kinds: Any = schema.get("type", ())
    named: list[str] = [kinds] if isinstance(kinds, str) else list(kinds)
    return {"number" if kind == "integer" else kind for kind in named} - {"null"}


def _described(schemas: Sequence[Mapping[str, Any]]) -> str:
    choices = [choice for schema in schemas for choice in _choices(schema)]
    return " or ".join(dict.fromkeys(_words(choice) for choice in choices))


def _words(schema: Mapping[str, Any]) -> str:
    kind = "/".join(sorted(_kinds(schema))) or "anything"
    if kind == "array":
        return f"an array of {_described([schema.get('items', {})])}"
    members = schema.get("required") or schema.get("properties")
    return f"{kind} with {', '.join(members)}" if members else kind


class _Same:
    """A schema as a key: it equals itself only."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.schema is self.schema


@lru_cache(maxsize=_KEPT_SCHEMAS)
def _plain(one: _Same) -> Mapping[str, Any]:
    _has_work_left(MAX_PARTS)
    return plain_schema(one.schema)


def _size(schema: Mapping[str, Any]) -> int:
    """Return about how many choices a schema has."""
    return 1 + len(schema.get("anyOf", ()))


def _choices(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (
        [part for choice in schema["anyOf"] for part in _choices(choice)] if "anyOf" in schema else [schema]
    )


def _below(schema: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    kinds = _kinds(schema)
    if not kinds:
        return [{}]
    found: list[Mapping[str, Any]] = []
    if "array" in kinds and _INDEX.fullmatch(name):
        found.append(schema.get("items", {}))
    if "object" in kinds:
        other = schema.get("additionalProperties", True)
        member = schema.get("properties", {}).get(name, other)
        found += [{}] if member is True else [member] if isinstance(member, Mapping) else []
    return found


def _items(schemas: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [schema["items"] for schema in schemas if isinstance(schema.get("items"), Mapping)]


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _dotted(place: str, path: tuple[str | int, ...]) -> str:
    return ".".join([place, *(str(part)[:64] for part in path)])

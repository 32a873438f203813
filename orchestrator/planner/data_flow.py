"""Checks what the steps of a plan take from each other, before anything is spent on a step that can't work."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.models import record
from orchestrator.models.arm_capability import Action
from orchestrator.models.plan import Offer, PlanStep
from orchestrator.planner.loops import loop_faults, places_read, putting_out
from orchestrator.planner.offers import StepGround, settled
from orchestrator.planner.plan_files import FILE_SCHEMA, may_hold_files, place_of
from orchestrator.planner.references import (
    FILE,
    FROM,
    POINTER,
    fault_of,
    is_reference,
    references_in,
    step_of,
)
from orchestrator.planner.schema_places import (
    choices_of,
    described,
    has_work_left,
    may_fit,
    schemas_at,
    tokens_of,
)
from orchestrator.planner.step_reader import PlanFaults

_PLACEHOLDER = re.compile(r"\{\{ ?(?:steps\.)?([a-z][a-z0-9_-]{0,63})((?:[./][A-Za-z0-9_]{1,64}){0,8}) ?\}\}")
_MAX_LISTED = 12
MAX_ANSWER_CHARACTERS = 16_384
"""The longest `result` of a plan, in JSON."""
_Path = tuple[str | int, ...]


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
        faults.add_all(_loop_faults(step, known, ground), f"steps.{index}")
        for member, inputs in (("inputs", step.inputs), ("repair_inputs", step.repair_inputs or {})):
            place = f"steps.{index}.{member}"
            for path, reference in references_in(inputs):
                name = step_of(reference)
                if fault_of(reference) or name not in known:
                    continue  # reported where the steps are read
                source = known[name]
                link = _Link(path, reference, ground.action_of(step.preferred), _output_of(source, ground))
                if message := link.fault(source.preferred):
                    faults.add(_dotted(place, path), message)
            for path, text in _texts_in(inputs):
                if message := _placeholder_fault(text, known):
                    faults.add(_dotted(place, path), message)
        if is_ours:
            _check_own(step, f"steps.{index}", known, ground, faults=faults)


def _loop_faults(
    step: PlanStep, known: Mapping[str, PlanStep], ground: StepGround
) -> Iterator[tuple[str, str]]:
    """Yield (dotted path, message) for what is wrong with a step's for_each, its items and its `when`."""
    sources = {name: _output_of(known[name], ground) for name in step.depends_on if name in known}
    for member, reference in places_read(step):
        name, pointer = reference[FROM], reference.get(POINTER, "")
        if name in sources and not schemas_at(sources[name].output_schema, tokens_of(pointer)):
            yield member, _missing(name, known[name].preferred, sources[name], pointer)
    yield from loop_faults(step, ground.action_of(step.preferred), sources)


def _output_of(step: PlanStep, ground: StepGround) -> Action:
    """Return the action that a step prefers, with the output that the step has."""
    return putting_out(step, ground.action_of(step.preferred))


class _Flow:
    """The references between the steps of a plan, while their offers are settled one step after the other."""

    def __init__(self, steps: Sequence[PlanStep], ground: StepGround, answer: Any) -> None:
        self._ground = ground
        self._answer = [reference for _, reference in references_in(answer) if not fault_of(reference)]
        self._steps = {step.id: step for step in steps}
        self._offers: dict[str, tuple[Offer, ...]] = {step.id: (step.preferred,) for step in steps}
        self._read_by: dict[str, list[tuple[str, _Path, Mapping[str, Any]]]] = {}
        self._reads: dict[str, list[tuple[str, _Path, Mapping[str, Any]]]] = {}
        for step in steps:
            for inputs in (step.inputs, step.repair_inputs or {}):
                for path, reference in references_in(inputs):
                    if not fault_of(reference):
                        self._note(step, path, reference)
            for member, reference in places_read(step):
                self._note(step, (member,), reference)

    def _note(self, step: PlanStep, path: _Path, reference: Mapping[str, Any]) -> None:
        name = step_of(reference)
        if name is not None and name in self._offers:
            self._reads.setdefault(step.id, []).append((name, path, reference))
            self._read_by.setdefault(name, []).append((step.id, path, reference))

    def _putting_out(self, name: str, offer: Offer) -> Action:
        return putting_out(self._steps[name], self._ground.action_of(offer))

    def settle(self, step: PlanStep) -> PlanStep:
        """Return the step with its fitting offers, to which the offers of later steps are compared."""
        if not step.offers:
            return step
        if not has_work_left():
            return replace(step, offers=())
        objections = {offer: self._objection(step, offer) for offer in step.offers}
        able = [offer for offer, objection in objections.items() if not objection]
        if not able:
            return replace(step, offers=())
        self._offers[step.id] = tuple(able)
        reasons = {str(offer): objection for offer, objection in objections.items() if objection}
        return replace(step, **settled(able, {**step.excluded, **reasons}))

    def _objection(self, step: PlanStep, offer: Offer) -> str | None:
        action = self._putting_out(step.id, offer)
        for link, source, note in self._links(step, offer):
            if not has_work_left():
                return None
            if fault := link.fault(source):
                return f"{fault}{note}"
        own = [_own_pointer(criterion["check"] or {}, step.id) for criterion in step.acceptance_criteria]
        for reference in self._answer:
            if step_of(reference) == step.id and not _given(reference, action):
                return _lacks(reference, offer, action)
        for pointer in own:
            if pointer is not None and not schemas_at(action.output_schema, tokens_of(pointer)):
                return _missing(step.id, offer, action, pointer)
        return None

    def _links(self, step: PlanStep, offer: Offer) -> Iterator[tuple["_Link", Offer, str]]:
        """Yield each reference from or to the step if this offer does it, its source, and a note for a message."""
        action = self._ground.action_of(offer)
        for name, path, reference in self._reads.get(step.id, ()):
            for source in self._offers[name]:
                yield _Link(path, reference, action, self._putting_out(name, source)), source, ""
        for name, path, reference in self._read_by.get(step.id, ()):
            for reader in self._offers[name]:
                made = self._putting_out(step.id, offer)
                link = _Link(path, reference, self._ground.action_of(reader), made)
                yield link, offer, f" (step {name!r} reads it)"


@dataclass(frozen=True)
class _Link:
    """A reference of an action's inputs, at a path, to the output of another step's action."""

    path: _Path
    reference: Mapping[str, Any]
    reader: Action
    action: Action

    def fault(self, source: Offer) -> str | None:
        """Return why the reference can't be followed; `source` is the offer that has the other action."""
        given = _given(self.reference, self.action)
        if not given:
            return _lacks(self.reference, source, self.action)
        wanted = schemas_at(self.reader.input_schema, [str(part) for part in self.path])
        place = place_of(wanted)
        shown = f"{self.reference.get(POINTER) or 'the output'} of step {step_of(self.reference)!r}"
        if place != "other":
            return self._file_fault(place, given, shown)
        if wanted and not any(may_fit(one, other) for one in given for other in wanted):
            return f"takes {described(wanted)}, and {shown} is {described(given)}"
        return None

    def _file_fault(self, place: str, given: Sequence[Mapping[str, Any]], shown: str) -> str | None:
        """Return why what is given can't stand at a place of one file, or of several."""
        choices = [choice for one in given for choice in choices_of(one)]
        fitting = [one for one in choices if "type" not in one or ("items" in one) == (place == "files")]
        if may_hold_files(fitting):
            return None
        advice = f'{{"$file": {{"from": "{step_of(self.reference)}"}}}}'
        kind, advice = ("a file", advice) if place == "file" else ("files", f"[{advice}]")
        return f"takes {kind}, and {shown} is {described(given)}; a file that a step leaves is {advice}"


def _given(reference: Mapping[str, Any], action: Action) -> list[Mapping[str, Any]]:
    """Return the schemas of what a reference to an action's output stands for; empty if it never stands there."""
    if FILE in reference:
        return [FILE_SCHEMA] if may_hold_files(schemas_at(action.output_schema, [])) else []
    return schemas_at(action.output_schema, tokens_of(reference.get(POINTER, "")))


def _lacks(reference: Mapping[str, Any], offer: Offer, action: Action) -> str:
    step = str(step_of(reference))
    if FILE in reference:
        return f"step {step!r} ({offer}) leaves no file"
    return _missing(step, offer, action, reference.get(POINTER, ""))


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
        message, name = fault_of(reference), step_of(reference)
        if message is None and name is None:
            message = "the answer can't name an attachment"
        elif message is None and name not in known:
            message = f"there is no step {name[:64]!r}" if name else None
        elif message is None and name is not None:
            action = _output_of(known[name], ground)
            if not _given(reference, action):
                message = _lacks(reference, known[name].preferred, action)
        if message:
            faults.add(_dotted("result", path), message)


def _check_own(
    step: PlanStep, place: str, known: Mapping[str, PlanStep], ground: StepGround, *, faults: PlanFaults
) -> None:
    for number, criterion in enumerate(step.acceptance_criteria):
        rule = criterion["check"] or {}
        source = known.get(rule.get("step", step.id))
        pointer = rule.get("pointer", "")
        if source and rule.get("exists") is not False:
            action = _output_of(source, ground)
            if not schemas_at(action.output_schema, tokens_of(pointer)):
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
    schema, tokens = action.output_schema, tokens_of(pointer)
    while tokens and not schemas_at(schema, tokens):
        tokens = tokens[:-1]
    above = "/".join(["", *tokens])
    choices = [choice for one in schemas_at(schema, tokens) for choice in choices_of(one)]
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


def _dotted(place: str, path: tuple[str | int, ...]) -> str:
    return ".".join([place, *(str(part)[:64] for part in path)])

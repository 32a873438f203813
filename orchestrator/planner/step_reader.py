"""Reads one step of a plan as it was sent: fills in defaults and collects every fault."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.plan import Offer, PlanStep
from orchestrator.models.task_contract import MAX_CRITERIA
from orchestrator.planner.approval_reader import read_approval
from orchestrator.planner.loops import item_form_faults, read_loop, read_when, sources_of
from orchestrator.planner.offers import NoOffer, StepGround, find_offers, forbidden, kept
from orchestrator.planner.plan_files import with_ids
from orchestrator.planner.references import fault_of, is_item, is_reference, items_in, references_in, step_of
from orchestrator.rules.check_rule import schemas_of, validate_rule
from orchestrator.rules.json_schema import faults as schema_faults_of

MAX_TIMEOUT_SECONDS = 3600
MAX_DESCRIPTION_CHARACTERS = 2_000
ESTIMATED = ("tokens", "seconds", "dollars")
MAX_FAULTS = 50
_MAX_FAULTS_EACH = 3
STEP_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")

_MEMBERS = frozenset(
    [
        "id",
        "description",
        "arm",
        "action",
        "capabilities",
        "inputs",
        "depends_on",
        "acceptance_criteria",
        "estimate",
        "timeout_seconds",
        "repair_inputs",
        "optional",
        "required",
        "approval",
        "for_each",
        "max_items",
        "when",
        # of a plan that was read from the trace: they are found anew
        "offers",
        "excluded",
    ]
)
# keywords that test a value's members: undecidable while one of the members is a reference
_MEMBER_KEYWORDS = frozenset(
    ["oneOf", "anyOf", "allOf", "not", "enum", "const", "contains", "uniqueItems", "if", "$ref"]
)


@dataclass
class PlanFaults:
    """The faults of a plan: the first MAX_FAULTS fields and messages, and the count of all.

    `origins` say of each step in which place of the plan it was sent, and its id if a recipe brought it: (index, id).
    Without them the steps are the ones that were sent.
    """

    found: list[dict[str, str]] = field(default_factory=list)
    count: int = 0
    origins: Sequence[tuple[int, str | None]] = ()

    def add(self, place: str, message: str) -> None:
        """Add a fault; `place` is a dotted path in the plan, whose steps are numbered as they are read."""
        self.count += 1
        if len(self.found) < MAX_FAULTS:
            sent, inside = self.sent_place(place)
            self.found.append({"field": _cut(sent, 200), "message": _cut(inside + message, 500)})

    def sent_place(self, place: str) -> tuple[str, str]:
        """Return where a place was sent and, if a recipe brought its step, a beginning of a message that names it."""
        first, _, rest = place.partition(".")
        number, _, member = rest.partition(".")
        if first != "steps" or not number.isdigit() or int(number) >= len(self.origins):
            return place, ""
        index, name = self.origins[int(number)]
        if name is None:
            return ".".join(filter(None, ["steps", str(index), member])), ""
        return f"steps.{index}", f"step {name!r} of the recipe: {f'{member}: ' if member else ''}"

    def add_all(self, found: Iterable[tuple[str, str]], place: str) -> None:
        """Add faults (dotted path, message) of what stands at `place`."""
        for path, message in found:
            self.add(f"{place}.{path}", message)


def read_step(item: Any, place: str, *, ground: StepGround, faults: PlanFaults) -> PlanStep | None:
    """Return the step that `item` describes; None when it is no object or has no valid id.

    Its `arm` is empty when nothing can do it.
    """
    if not isinstance(item, Mapping):
        faults.add(place, "must be an object")
        return None
    record = {name: value for name, value in item.items() if value is not None}
    for name in sorted(set(record) - _MEMBERS):
        faults.add(
            place,
            f"has an unknown member {name[:64]!r}: the members are {', '.join(sorted(_MEMBERS))}",
        )
    name = _read_id(record, place, faults)
    capabilities = _read_names(record, "capabilities", place, faults)
    looped: list[tuple[str, str]] = []
    for_each, max_items = read_loop(record, looped)
    offers = _read_offers(record, set(capabilities), place, ground=ground, faults=faults)
    step = PlanStep(
        id=name,
        arm=offers[0].arm if offers else "",
        action=offers[0].action if offers else "",
        description=_read_text(record, place, faults),
        capabilities=capabilities,
        inputs=_read_inputs(record, "inputs", place, faults) or {},
        depends_on=_read_names(record, "depends_on", place, faults),
        acceptance_criteria=_read_criteria(record, place, faults),
        repair_inputs=_read_inputs(record, "repair_inputs", place, faults),
        timeout_seconds=_read_timeout(record, place, faults),
        optional=_read_flag(record, "optional", place, faults),
        required=_read_flag(record, "required", place, faults, default=True),
        estimate=_read_estimate(record, place, faults),
        approval=read_approval(
            record,
            ground.arms[offers[0].arm] if offers else None,
            lambda member, message: faults.add(f"{place}.{member}", message),
        ),
        for_each=for_each,
        max_items=max_items,
        when=read_when(record, looped),
    )
    faults.add_all([*looped, *(item_form_faults(step) if "for_each" not in dict(looped) else ())], place)
    step = _with_file_ids(step, place, ground=ground, faults=faults)
    if len(offers) == 1:
        faults.add_all(_offer_faults(step, offers[0], ground), place)
    elif offers:
        is_named = "arm" in record and len({offer.arm for offer in offers}) > 1
        step = _with_offers(step, offers, place, ground=ground, faults=faults, is_named=is_named)
    return _with_referenced(step) if name else None


def _with_file_ids(step: PlanStep, place: str, *, ground: StepGround, faults: PlanFaults) -> PlanStep:
    """Return the step with ids in place of the names of attachments."""
    schema = ground.action_of(step.preferred).input_schema if step.arm else None
    written: dict[str, Any] = {}
    for member in ("inputs", "repair_inputs"):
        if inputs := getattr(step, member):
            written[member], wrong = with_ids(inputs, schema, ground.names)
            faults.add_all([(_dotted(member, path), message) for path, message in wrong], place)
    return replace(step, **written)


def _read_id(record: Mapping[str, Any], place: str, faults: PlanFaults) -> str:
    name = record.get("id")
    if isinstance(name, str) and STEP_ID.fullmatch(name):
        return name
    faults.add(f"{place}.id", "must be 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter")
    return ""


def _read_offers(
    record: Mapping[str, Any], wanted: set[str], place: str, *, ground: StepGround, faults: PlanFaults
) -> list[Offer]:
    try:
        return find_offers(record, wanted, ground)
    except NoOffer as missing:
        faults.add(f"{place}.{missing.member}", str(missing))
        return []


def _read_text(record: Mapping[str, Any], place: str, faults: PlanFaults) -> str:
    text = record.get("description", "")
    if isinstance(text, str) and len(text) <= MAX_DESCRIPTION_CHARACTERS:
        return text
    faults.add(f"{place}.description", f"must be a string of at most {MAX_DESCRIPTION_CHARACTERS} characters")
    return ""


def _read_names(record: Mapping[str, Any], member: str, place: str, faults: PlanFaults) -> tuple[str, ...]:
    names = record.get(member, [])
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return tuple(dict.fromkeys(names))
    faults.add(f"{place}.{member}", "must be a list of strings")
    return ()


def _read_flag(
    record: Mapping[str, Any], member: str, place: str, faults: PlanFaults, *, default: bool = False
) -> bool:
    flag = record.get(member, default)
    if not isinstance(flag, bool):
        faults.add(f"{place}.{member}", "must be true or false")
    return flag is True


def _read_timeout(record: Mapping[str, Any], place: str, faults: PlanFaults) -> float | None:
    seconds = record.get("timeout_seconds")
    if seconds is None:
        return None
    if (
        isinstance(seconds, (int, float))
        and not isinstance(seconds, bool)
        and 0 < seconds <= MAX_TIMEOUT_SECONDS
    ):
        return float(seconds)
    faults.add(f"{place}.timeout_seconds", f"must be above 0 and at most {MAX_TIMEOUT_SECONDS}")
    return None


def _read_estimate(record: Mapping[str, Any], place: str, faults: PlanFaults) -> dict[str, float]:
    estimate = record.get("estimate", {})
    if not isinstance(estimate, Mapping):
        faults.add(f"{place}.estimate", f"must be an object with {', '.join(ESTIMATED)}")
        return {}
    given = {name: estimate[name] for name in ESTIMATED if estimate.get(name) is not None}
    wrong = [name for name, number in given.items() if not _is_amount(number)]
    for name in wrong:
        faults.add(f"{place}.estimate.{name}", "must be a number of at least 0")
    return {} if wrong else given


def _is_amount(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < math.inf


def _read_inputs(
    record: Mapping[str, Any], member: str, place: str, faults: PlanFaults
) -> dict[str, Any] | None:
    inputs = record.get(member)
    if inputs is None:
        return None
    if not isinstance(inputs, Mapping) or is_reference(inputs):
        faults.add(f"{place}.{member}", "must be an object whose members are the action's inputs")
        return None
    return {name: value for name, value in inputs.items() if name != "action"}


def _read_criteria(record: Mapping[str, Any], place: str, faults: PlanFaults) -> tuple[dict[str, Any], ...]:
    items = record.get("acceptance_criteria", [])
    if not isinstance(items, (list, tuple)) or len(items) > MAX_CRITERIA:
        faults.add(f"{place}.acceptance_criteria", f"must be a list of at most {MAX_CRITERIA}")
        return ()
    criteria = [{"text": item, "check": None} if isinstance(item, str) else item for item in items]
    return tuple(
        {"text": item["text"], "check": item.get("check")}
        for index, item in enumerate(criteria)
        if _is_criterion(item, f"{place}.acceptance_criteria.{index}", faults)
    )


def _is_criterion(item: Any, place: str, faults: PlanFaults) -> bool:
    if not isinstance(item, Mapping) or not isinstance(item.get("text"), str) or not item["text"].strip():
        faults.add(place, "must be a string, or an object {text, check}")
        return False
    for name in sorted(set(item) - {"text", "check"}):
        faults.add(place, f"has an unknown member {name[:64]!r}: the members are text, check")
    messages = [] if item.get("check") is None else validate_rule(item["check"])
    for message in messages:
        faults.add(f"{place}.check", message)
    return not messages


def _with_offers(
    step: PlanStep,
    offers: Sequence[Offer],
    place: str,
    *,
    ground: StepGround,
    faults: PlanFaults,
    is_named: bool,
) -> PlanStep:
    """Return the step with those of several offers that can do it; adds faults when none can.

    If the plan names an arm, that arm must be able to, and the others must be able to stand in for it. Otherwise the
    offers with the least effects are kept.
    """
    wrong = {offer: list(_offer_faults(step, offer, ground)) for offer in offers}
    if is_named and wrong[offers[0]]:
        faults.add_all(wrong[offers[0]], place)
        return step
    able = [offer for offer in offers if not wrong[offer]]
    if not able:
        for offer in offers:
            faults.add_all(
                [(at, f"{offer}: {message}") for at, message in wrong[offer][:_MAX_FAULTS_EACH]], place
            )
        return replace(step, arm="", action="")
    excluded = {str(offer): f"{at}: {message}" for offer, found in wrong.items() for at, message in found[:1]}
    return replace(step, **kept(able, excluded, ground, is_named=is_named))


def _offer_faults(step: PlanStep, offer: Offer, ground: StepGround) -> Iterator[tuple[str, str]]:
    """Yield (dotted path in the step, message) for each reason why an offer can't do the step."""
    action = ground.action_of(offer)
    if refusal := forbidden(action, ground):
        yield "action", f"{offer} {refusal}"
    yield from _input_faults(step, action)
    yield from _attachment_faults(step, action, ground.attachments)


def _input_faults(step: PlanStep, action: Action) -> Iterator[tuple[str, str]]:
    yield from _faults_against(action, step.inputs, "inputs")
    if step.repair_inputs is not None:
        yield from _faults_against(action, {**step.inputs, **step.repair_inputs}, "repair_inputs")
    for member, inputs in (("inputs", step.inputs), ("repair_inputs", step.repair_inputs or {})):
        for rule, path in _rules_in(inputs):
            for message in validate_rule(rule):
                yield f"{member}.{path}", message


def input_faults(
    arm_id: str, action: str, inputs: Any, *, attachments: Sequence[str]
) -> list[tuple[str, str]]:
    """Return (field, message) for what is wrong with a step's inputs, which hold values and no references."""
    if not isinstance(inputs, Mapping):
        return [("inputs", "must be an object whose members are the action's inputs")]
    if any(True for _ in references_in(inputs)):
        return [("inputs", "must hold values: a reference to another step's output is not possible here")]
    offered = ARMS[arm_id].actions[action]
    step = PlanStep(id="", arm=arm_id, action=action, inputs=dict(inputs))
    found = [*_input_faults(step, offered), *_attachment_faults(step, offered, attachments)]
    return found[:MAX_FAULTS]


def _faults_against(action: Action, inputs: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    references = dict(references_in(inputs))
    for path, reference in references.items():
        if message := fault_of(reference):
            yield _dotted(place, path), message
    references |= dict(items_in(inputs))
    for fault in schema_faults_of(action.input_schema, inputs):
        inside = any(path[: len(fault.path)] == fault.path for path in references)
        behind = any(fault.path[: len(path)] == path for path in references)
        if not behind and not (inside and fault.keyword in _MEMBER_KEYWORDS):
            yield _dotted(place, fault.path), fault.message


def _attachment_faults(
    step: PlanStep, action: Action, attachments: Sequence[str]
) -> Iterator[tuple[str, str]]:
    inputs = {**step.inputs, **(step.repair_inputs or {})}
    named = [inputs["attachment"]] if "attachment" in inputs else inputs.get("attachments", [])
    for artifact in named if isinstance(named, list) else []:
        if isinstance(artifact, str) and artifact not in attachments:
            yield "inputs", f"{artifact[:64]!r} is not an attachment of this task"
    if action.attachments == "one" and not named and len(attachments) != 1:
        state = f"has {len(attachments)}: name one in inputs.attachment" if attachments else "has none"
        yield "inputs.attachment", f"{action.name} reads one attachment, and the task {state}"


def _rules_in(inputs: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield (rule, path) for each machine check in the inputs of judge.verify."""
    if "check" in inputs and not _is_filled_in(inputs["check"]):
        yield inputs["check"], "check"
    checks = inputs.get("checks")
    for index, item in enumerate(checks if isinstance(checks, list) else []):
        if isinstance(item, Mapping) and "check" in item and not _is_filled_in(item["check"]):
            yield item["check"], f"checks.{index}.check"


def _is_filled_in(value: Any) -> bool:
    return is_reference(value) or is_item(value)


def _with_referenced(step: PlanStep) -> PlanStep:
    sources = [*references_in(step.inputs), *references_in(step.repair_inputs or {})]
    names = [name for _, reference in sources if (name := step_of(reference)) is not None]
    names += sources_of(step)
    return PlanStep(**{**vars(step), "depends_on": tuple(dict.fromkeys([*step.depends_on, *names]))})


def schemas_in(steps: Sequence[Any]) -> Iterator[Any]:
    """Yield the JSON Schemas in the machine checks of the steps as they were sent."""
    for step in steps:
        if not isinstance(step, Mapping):
            continue
        criteria = step.get("acceptance_criteria")
        items = criteria if isinstance(criteria, list) else []
        rules = [step.get("when"), *(item.get("check") for item in items if isinstance(item, Mapping))]
        for inputs in (step.get("inputs"), step.get("repair_inputs")):
            rules += [rule for rule, _ in _rules_in(inputs)] if isinstance(inputs, Mapping) else []
            if isinstance(inputs, Mapping) and "schema" in inputs:
                # of an answer, by human.answer
                yield inputs["schema"]
        yield from schemas_of(rules)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _dotted(place: str, path: tuple[str | int, ...]) -> str:
    return ".".join([place, *(str(part)[:64] for part in path)])

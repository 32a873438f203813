"""Reads one step of a plan as it was sent: fills in defaults and collects every fault."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.arm_capability import ARMS, Action, ArmCapability, canonical_arm
from orchestrator.models.plan import PlanStep
from orchestrator.models.task_contract import MAX_CRITERIA
from orchestrator.planner.approval_reader import read_approval
from orchestrator.planner.references import fault_of, is_reference, references_in
from orchestrator.rules.check_rule import schemas_of, validate_rule
from orchestrator.rules.json_schema import faults as schema_faults_of

MAX_TIMEOUT_SECONDS = 3600
MAX_DESCRIPTION_CHARACTERS = 2_000
_STEP_ARMS: Mapping[str, ArmCapability] = {name: arm for name, arm in ARMS.items() if arm.in_plans}
ESTIMATED = ("tokens", "seconds", "dollars")
MAX_FAULTS = 50
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
    ]
)
# keywords that test a value's members: undecidable while one of the members is a reference
_MEMBER_KEYWORDS = frozenset(
    ["oneOf", "anyOf", "allOf", "not", "enum", "const", "contains", "uniqueItems", "if", "$ref"]
)


@dataclass
class PlanFaults:
    """The faults of a plan: the first MAX_FAULTS fields and messages, and the count of all."""

    found: list[dict[str, str]] = field(default_factory=list)
    count: int = 0

    def add(self, place: str, message: str) -> None:
        """Add a fault; `place` is a dotted path in the plan."""
        self.count += 1
        if len(self.found) < MAX_FAULTS:
            self.found.append({"field": _cut(place, 200), "message": _cut(message, 500)})


def read_step(item: Any, place: str, *, attachments: Sequence[str], faults: PlanFaults) -> PlanStep | None:
    """Return the step that `item` describes; None when it is no object or has no valid id."""
    if not isinstance(item, Mapping):
        faults.add(place, "must be an object")
        return None
    record = {name: value for name, value in item.items() if value is not None}
    for name in sorted(set(record) - _MEMBERS):
        faults.add(place, f"has an unknown member {name[:64]!r}")
    name = _read_id(record, place, faults)
    capabilities = _read_names(record, "capabilities", place, faults)
    offer = _read_offer(record, set(capabilities), place, faults)
    step = PlanStep(
        id=name,
        arm=offer[0].arm_id if offer else "",
        action=offer[1].name if offer else "",
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
            offer[0] if offer else None,
            lambda member, message: faults.add(f"{place}.{member}", message),
        ),
    )
    if offer:
        _check_inputs(step, offer[1], place, faults)
        _check_attachments(step, offer[1], place, attachments, faults)
    return _with_referenced(step) if name else None


def _read_id(record: Mapping[str, Any], place: str, faults: PlanFaults) -> str:
    name = record.get("id")
    if isinstance(name, str) and STEP_ID.fullmatch(name):
        return name
    faults.add(f"{place}.id", "must be 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter")
    return ""


def _read_offer(
    record: Mapping[str, Any], wanted: set[str], place: str, faults: PlanFaults
) -> tuple[ArmCapability, Action] | None:
    """Return the only arm and action that match the step's arm, action and capabilities."""
    arm_id, action = record.get("arm"), _action_named(record)
    if arm_id is not None and not _is_step_arm(arm_id):
        faults.add(f"{place}.arm", f"must be one of {', '.join(_STEP_ARMS)}")
        return None
    arms = [arm for arm in _STEP_ARMS.values() if arm_id is None or arm.arm_id == canonical_arm(arm_id)]
    if action is not None and not any(action in list(arm.actions) for arm in arms):
        known = sorted(name for arm in arms for name in arm.actions)
        faults.add(f"{place}.action", f"must be one of {', '.join(known)}")
        return None
    if arm_id is not None and wanted - set(arms[0].capabilities):
        missing = ", ".join(sorted(wanted - set(arms[0].capabilities)))
        faults.add(f"{place}.capabilities", f"arm {arms[0].arm_id} does not offer {missing[:200]}")
        return None
    offers = [
        (arm, candidate)
        for arm in arms
        for candidate in arm.actions.values()
        if (action is None or candidate.name == action)
        and _fits(wanted, arm, candidate, named=action is not None)
    ]
    if len(offers) == 1:
        return offers[0]
    _add_ambiguous(offers, place, faults, arm_named=arm_id is not None)
    return None


def _action_named(record: Mapping[str, Any]) -> Any:
    inputs = record.get("inputs")
    return record.get("action", inputs.get("action") if isinstance(inputs, Mapping) else None)


def _is_step_arm(name: Any) -> bool:
    return isinstance(name, str) and canonical_arm(name) in _STEP_ARMS


def _fits(wanted: set[str], arm: ArmCapability, action: Action, *, named: bool) -> bool:
    return wanted <= set(arm.capabilities if named else action.capabilities)


def _add_ambiguous(
    offers: Sequence[tuple[ArmCapability, Action]], place: str, faults: PlanFaults, *, arm_named: bool
) -> None:
    choices = ", ".join(f"{arm.arm_id}.{action.name}" for arm, action in offers)
    if not offers:
        faults.add(f"{place}.capabilities", "no single action offers all of them")
    elif arm_named:
        faults.add(f"{place}.action", f"is required: one of {choices}")
    else:
        faults.add(
            f"{place}.arm", f"is required, or capabilities that only one action offers; one of {choices}"
        )


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
        faults.add(place, f"has an unknown member {name[:64]!r}")
    messages = [] if item.get("check") is None else validate_rule(item["check"])
    for message in messages:
        faults.add(f"{place}.check", message)
    return not messages


def _check_inputs(step: PlanStep, action: Action, place: str, faults: PlanFaults) -> None:
    _check_against(action, step.inputs, f"{place}.inputs", faults)
    if step.repair_inputs is not None:
        _check_against(action, {**step.inputs, **step.repair_inputs}, f"{place}.repair_inputs", faults)
    for member, inputs in (("inputs", step.inputs), ("repair_inputs", step.repair_inputs or {})):
        for rule, path in _rules_in(inputs):
            for message in validate_rule(rule):
                faults.add(f"{place}.{member}.{path}", message)


def input_faults(
    arm_id: str, action: str, inputs: Any, *, attachments: Sequence[str]
) -> list[tuple[str, str]]:
    """Return (field, message) for what is wrong with a step's inputs, which hold values and no references."""
    faults = PlanFaults()
    if not isinstance(inputs, Mapping):
        return [("inputs", "must be an object whose members are the action's inputs")]
    if any(True for _ in references_in(inputs)):
        return [("inputs", "must hold values: a reference to another step's output is not possible here")]
    offer = ARMS[arm_id].actions[action]
    step = PlanStep(id="", arm=arm_id, action=action, inputs=dict(inputs))
    _check_inputs(step, offer, "", faults)
    _check_attachments(step, offer, "", attachments, faults)
    return [(fault["field"].removeprefix("."), fault["message"]) for fault in faults.found]


def _check_against(action: Action, inputs: Mapping[str, Any], place: str, faults: PlanFaults) -> None:
    references = dict(references_in(inputs))
    for path, reference in references.items():
        if message := fault_of(reference):
            faults.add(_dotted(place, path), message)
    for fault in schema_faults_of(action.input_schema, inputs):
        inside = any(path[: len(fault.path)] == fault.path for path in references)
        behind = any(fault.path[: len(path)] == path for path in references)
        if not behind and not (inside and fault.keyword in _MEMBER_KEYWORDS):
            faults.add(_dotted(place, fault.path), fault.message)


def _check_attachments(
    step: PlanStep, action: Action, place: str, attachments: Sequence[str], faults: PlanFaults
) -> None:
    inputs = {**step.inputs, **(step.repair_inputs or {})}
    named = [inputs["attachment"]] if "attachment" in inputs else inputs.get("attachments", [])
    for artifact in named if isinstance(named, list) else []:
        if isinstance(artifact, str) and artifact not in attachments:
            faults.add(f"{place}.inputs", f"{artifact[:64]!r} is not an attachment of this task")
    if action.attachments == "one" and not named and len(attachments) != 1:
        state = f"has {len(attachments)}: name one in inputs.attachment" if attachments else "has none"
        faults.add(f"{place}.inputs.attachment", f"{action.name} reads one attachment, and the task {state}")


def _rules_in(inputs: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield (rule, path) for each machine check in the inputs of judge.verify."""
    if "check" in inputs and not is_reference(inputs["check"]):
        yield inputs["check"], "check"
    checks = inputs.get("checks")
    for index, item in enumerate(checks if isinstance(checks, list) else []):
        if isinstance(item, Mapping) and "check" in item and not is_reference(item["check"]):
            yield item["check"], f"checks.{index}.check"


def _with_referenced(step: PlanStep) -> PlanStep:
    sources = [*references_in(step.inputs), *references_in(step.repair_inputs or {})]
    names = [reference["$from"] for _, reference in sources if isinstance(reference["$from"], str)]
    return PlanStep(**{**vars(step), "depends_on": tuple(dict.fromkeys([*step.depends_on, *names]))})


def schemas_in(steps: Sequence[Any]) -> Iterator[Any]:
    """Yield the JSON Schemas in the machine checks of the steps as they were sent."""
    for step in steps:
        if not isinstance(step, Mapping):
            continue
        criteria = step.get("acceptance_criteria")
        items = criteria if isinstance(criteria, list) else []
        rules = [item.get("check") for item in items if isinstance(item, Mapping)]
        for inputs in (step.get("inputs"), step.get("repair_inputs")):
            rules += [rule for rule, _ in _rules_in(inputs)] if isinstance(inputs, Mapping) else []
        yield from schemas_of(rules)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _dotted(place: str, path: tuple[str | int, ...]) -> str:
    return ".".join([place, *(str(part)[:64] for part in path)])

"""Reads what a step of a plan asks a person before it runs: its member `approval`, and the question of human.answer."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from orchestrator.models.approval import ALLOWED, ApprovalKind, Gate
from orchestrator.models.arm_capability import ArmCapability
from orchestrator.planner.references import references_in
from orchestrator.rules.schema_check import schema_faults

MAX_ASK_CHARACTERS = 2_000
MAX_BY_CHARACTERS = 200
MIN_EXPIRES_SECONDS = 1
MAX_EXPIRES_SECONDS = 30 * 86_400
ON_EXPIRY = ("reject", "approve", "fail")
_MEMBERS = ("ask", "by", "expires_in", "on_expiry", "allow")

AddFault = Callable[[str, str], None]
"""Adds a fault: the path of a member below the step, and a message."""


def read_approval(
    record: Mapping[str, Any], arm: ArmCapability | None, add_fault: AddFault
) -> dict[str, Any] | None:
    """Return the step's gate as JSON values, all defaults filled in; None for a step that asks nobody."""
    asks_person = arm is not None and arm.kind == "human"
    written = record.get("approval")
    if written is None and not asks_person:
        return None
    if written is not None and not isinstance(written, Mapping):
        add_fault("approval", f"must be an object with {', '.join(_MEMBERS)}")
        return None
    members = {name: value for name, value in (written or {}).items() if value is not None}
    for name in sorted(set(members) - set(_MEMBERS)):
        add_fault("approval", f"has an unknown member {name[:64]!r}: the members are {', '.join(_MEMBERS)}")
    kind = ApprovalKind.APPROVAL
    if asks_person:
        kind = ApprovalKind.QUESTION
        _check_schema(record, add_fault)
    gate = Gate(
        ask=_ask(members, record, asks_person, add_fault),
        by=_text(members, "by", MAX_BY_CHARACTERS, add_fault),
        expires_in=_expires_in(members, add_fault),
        on_expiry=_on_expiry(members, kind, add_fault),
        allow=_allow(members, kind, add_fault),
    )
    return {**asdict(gate), "allow": list(gate.allow)}


def _check_schema(record: Mapping[str, Any], add_fault: AddFault) -> None:
    """Add the faults of the schema of an answer: it is fixed by the plan, so that it is bounded and valid."""
    for member in ("inputs", "repair_inputs"):
        inputs = record.get(member)
        schema = inputs.get("schema") if isinstance(inputs, Mapping) else None
        if schema is None:
            continue
        if any(True for _ in references_in(schema)):
            add_fault(f"{member}.schema", "must be a JSON Schema, not a reference")
            continue
        for message in schema_faults(schema):
            add_fault(f"{member}.schema", message)


def _ask(
    members: Mapping[str, Any], record: Mapping[str, Any], asks_person: bool, add_fault: AddFault
) -> str:
    asked = _text(members, "ask", MAX_ASK_CHARACTERS, add_fault)
    if asked is not None:
        return asked
    if asks_person:
        inputs = record.get("inputs")
        question = inputs.get("question") if isinstance(inputs, Mapping) else None
        return question[:MAX_ASK_CHARACTERS] if isinstance(question, str) else "The step asks a question."
    return f"May step {str(record.get('id'))[:64]} run?"


def _text(members: Mapping[str, Any], name: str, limit: int, add_fault: AddFault) -> str | None:
    text = members.get(name)
    if text is None or (isinstance(text, str) and len(text.strip()) > 0 and len(text) <= limit):
        return text
    add_fault(f"approval.{name}", f"must be a string of 1 to {limit} characters")
    return None


def _expires_in(members: Mapping[str, Any], add_fault: AddFault) -> float:
    seconds = members.get("expires_in", Gate.expires_in)
    if (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and MIN_EXPIRES_SECONDS <= seconds <= MAX_EXPIRES_SECONDS
    ):
        return float(seconds)
    add_fault(
        "approval.expires_in",
        f"must be a number of seconds from {MIN_EXPIRES_SECONDS} to {MAX_EXPIRES_SECONDS}",
    )
    return Gate.expires_in


def _on_expiry(members: Mapping[str, Any], kind: ApprovalKind, add_fault: AddFault) -> str:
    rule = members.get("on_expiry", Gate.on_expiry)
    known = [name for name in ON_EXPIRY if kind is ApprovalKind.APPROVAL or name != "approve"]
    if rule in known:
        return str(rule)
    add_fault("approval.on_expiry", f"must be one of {', '.join(known)}")
    return Gate.on_expiry


def _allow(members: Mapping[str, Any], kind: ApprovalKind, add_fault: AddFault) -> tuple[str, ...]:
    known = tuple(verb.value for verb in ALLOWED[kind])
    allow = members.get("allow", known)
    is_list = isinstance(allow, list | tuple) and all(isinstance(verb, str) for verb in allow)
    if is_list and set(allow) <= set(known) and set(allow) - {"reject"}:
        return tuple(verb for verb in known if verb in allow)
    add_fault(
        "approval.allow",
        f"must be a list of {', '.join(known)} with more than reject: else nobody can say yes",
    )
    return known

"""Finds which arms' actions can do a step of a plan: those that it names, or all that fit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.arm_capability import ARMS, Action, ArmCapability, canonical_arm
from orchestrator.models.plan import Offer
from orchestrator.models.task_contract import EFFECTS
from orchestrator.planner.plan_files import AttachmentNames

_MAX_NAMES_CHARACTERS = 400
_MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class StepGround:
    """What the steps of a plan may use: `arms` by id, the task's `attachments` by id, and effects up to `effects`.

    `tenant` may leave its own name out of the ids of its arms. An arm that a step names is the only candidate if
    `pins`, else the preferred one. A step that `assigned_arm` can do is done by it, unless another one is pinned.
    `bound_by` says what sets the limit of the effects.
    """

    arms: Mapping[str, ArmCapability]
    tenant: str | None = None
    attachments: Sequence[str] = ()
    effects: str = EFFECTS[-1]
    assigned_arm: str | None = None
    pins: bool = True
    names: AttachmentNames = field(default_factory=AttachmentNames)
    bound_by: str = "the task's `effects`"

    def action_of(self, offer: Offer) -> Action:
        """Return the action of an offer."""
        return self.arms[offer.arm].actions[offer.action]

    def is_human(self, offer: Offer) -> bool:
        """Return whether a person does the step."""
        return self.arms[offer.arm].kind == "human"

    def find_arm(self, name: Any) -> ArmCapability | None:
        """Return the arm that a plan means by a name; None if it may use no such arm."""
        if not isinstance(name, str):
            return None
        return self.arms.get(canonical_arm(name)) or self.arms.get(f"{self.tenant}/{name}")


class NoOffer(Exception):
    """Nothing can do a step; `member` is the member of the step that is at fault."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


def visible_arms(tenant: str | None, *, named: Iterable[str] = ()) -> dict[str, ArmCapability]:
    """Return the arms by id that a tenant's plans may use; None: those that all tenants may use.

    The list of registered arms may be a second old; an arm that a plan names is looked up if it is not in it.
    """
    found = {arm_id: arm for arm_id, arm in ARMS.visible(tenant).items() if arm.in_plans}
    for name in named:
        ids = (canonical_arm(name), f"{tenant}/{name}")
        if tenant is not None and not any(arm_id in found for arm_id in ids):
            arms = [arm for arm_id in ids if (arm := ARMS.get(arm_id)) is not None]
            found |= {arm.arm_id: arm for arm in arms if arm.in_plans and arm.tenant in (None, tenant)}
    return found


def split_name(name: str, arms: Mapping[str, ArmCapability]) -> tuple[str, str]:
    """Return the arm and the action that `arm.action` names; either may have dots in it. Without a dot: no arm."""
    dots = [place for place, one in enumerate(name[:_MAX_NAME_CHARACTERS]) if one == "."]
    for place in dots:
        arm, action = name[:place], name[place + 1 :]
        if (found := arms.get(canonical_arm(arm))) and action in found.actions:
            return found.arm_id, action
    arm, _, action = name.rpartition(".")
    return arm, action


def find_offers(record: Mapping[str, Any], wanted: set[str], ground: StepGround) -> list[Offer]:
    """Return what fits a step's arm, action and capabilities, in the registry's order, a named arm first.

    `record` is the step as it was sent, `wanted` its capabilities. A step must name an action or capabilities, unless
    only one action fits. Raises NoOffer.
    """
    arm_id, action = record.get("arm"), _action_named(record)
    named = ground.find_arm(arm_id)
    if arm_id is not None and named is None:
        raise NoOffer("arm", f"must be one of {_listed(ground.arms)}")
    arms = [named] if named else list(ground.arms.values())
    if action is not None and not (isinstance(action, str) and any(action in arm.actions for arm in arms)):
        raise NoOffer(
            "action", f"must be one of {_listed(sorted(name for arm in arms for name in arm.actions))}"
        )
    if named and (missing := wanted - set(named.capabilities)):
        raise NoOffer("capabilities", f"arm {named.arm_id} does not offer {', '.join(sorted(missing))[:200]}")
    found = list(_fitting(arms, action, wanted))
    if named is None:
        # a person is asked only by a step that names the arm, or that no other arm can do
        found = [offer for offer in found if not ground.is_human(offer)] or found
    if not found:
        raise NoOffer("capabilities", "no single action offers all of them")
    if action is None and not wanted and len(found) > 1:
        choices = _listed(map(str, found))
        raise NoOffer("action", f"is required, or capabilities: one of {choices}")
    if named and not ground.pins and len(found) == 1 and not ground.is_human(found[0]):
        others = _fitting(ground.arms.values(), found[0].action, set())
        found += [offer for offer in others if offer != found[0] and not ground.is_human(offer)]
    return found


def kept(
    able: Sequence[Offer], excluded: Mapping[str, str], ground: StepGround, *, is_named: bool
) -> dict[str, Any]:
    """Return the members of a step that offers, all of them `able` to do it, decide: what is kept, what is excluded.

    The first of them is the named one if `is_named`.
    """
    least = min(able, key=lambda offer: EFFECTS.index(ground.action_of(offer).effects))
    objections = {
        offer: _objection_to(offer, able[0], ground) if is_named else _stronger(offer, least, ground)
        for offer in able
    }
    offers = [offer for offer in able if not objections[offer]]
    assigned = [offer for offer in offers if offer.arm == ground.assigned_arm]
    if assigned:
        objections |= {
            offer: f"the task assigns arm {ground.assigned_arm}" for offer in offers if offer not in assigned
        }
    return settled(
        assigned or offers,
        {**excluded, **{str(offer): reason for offer, reason in objections.items() if reason}},
    )


def settled(offers: Sequence[Offer], excluded: Mapping[str, str]) -> dict[str, Any]:
    """Return the members of a step that one or more offers can do; the first is preferred."""
    return {
        "arm": offers[0].arm,
        "action": offers[0].action,
        "offers": tuple(offers) if len(offers) > 1 else (),
        "excluded": dict(excluded),
    }


def _objection_to(offer: Offer, preferred: Offer, ground: StepGround) -> str | None:
    """Return why an offer can't stand in for the arm that a plan names, or None if it can.

    It must offer what the named action offers, have no stronger effects, and bring the same checks. An arm that a
    tenant registered never stands in for one of the operator's.
    """
    if ground.arms[offer.arm].tenant and not ground.arms[preferred.arm].tenant:
        return "was registered by a tenant: only a plan that names it is done by it"
    action, named = ground.action_of(offer), ground.action_of(preferred)
    if missing := sorted(set(named.capabilities) - set(action.capabilities)):
        return f"does not offer {', '.join(missing)}"
    if any(check not in action.met for check in named.met):
        return f"is not always checked as {preferred} is"
    return _stronger(offer, preferred, ground)


def _stronger(offer: Offer, other: Offer, ground: StepGround) -> str | None:
    """Return that an offer has stronger effects than another one, or None if it has not."""
    effects, least = ground.action_of(offer).effects, ground.action_of(other).effects
    if EFFECTS.index(effects) <= EFFECTS.index(least):
        return None
    return f"has the effects {effects}, and {other} has {least}"


def forbidden(action: Action, ground: StepGround) -> str | None:
    """Return that an action has effects that the task does not allow, or None if it allows them."""
    if EFFECTS.index(action.effects) <= EFFECTS.index(ground.effects):
        return None
    return f"has the effects {action.effects}, and {ground.bound_by} allow {ground.effects} at most"


def _fitting(arms: Iterable[ArmCapability], action: str | None, wanted: set[str]) -> Iterator[Offer]:
    for arm in arms:
        for candidate in arm.actions.values():
            offered = candidate.capabilities if action is None else arm.capabilities
            if action in (None, candidate.name) and wanted <= set(offered):
                yield Offer(arm.arm_id, candidate.name)


def _action_named(record: Mapping[str, Any]) -> Any:
    inputs = record.get("inputs")
    return record.get("action", inputs.get("action") if isinstance(inputs, Mapping) else None)


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _MAX_NAMES_CHARACTERS else f"{text[: _MAX_NAMES_CHARACTERS - 1]}…"

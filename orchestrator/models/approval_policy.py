"""The operator's APPROVAL_POLICY: rules that say which steps ask a person although their plan does not say so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.models.approval import Gate
from orchestrator.models.arm_capability import Action

MODEL_MODE: Final = "llm"
_MODES: Final = {"model": MODEL_MODE, "client": "client", "recipe": "rules"}
_EFFECTS: Final = ("none", "read", "write")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@/:-]{0,99}")
_KEYS: Final = ("effects", "plans", "arms", "tenants", "by", "expires_in", "on_expiry")
_WANTED: Final = (
    '"off", or rules separated by ";", each of key=value: effects=none,read,write plans=model,client,recipe arms=a,b '
    "tenants=a,b by=name expires_in=seconds on_expiry=reject or fail"
)
MAX_EXPIRES_SECONDS: Final = 30 * 86_400


@dataclass(frozen=True)
class AskRule:
    """One rule: steps that meet all its conditions ask; an empty condition is met by all. `modes` are Plan.mode."""

    effects: tuple[str, ...] = ("write",)
    modes: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    by: str | None = None
    expires_in: float = Gate.expires_in
    on_expiry: str = Gate.on_expiry

    def matches(self, action: Action, *, arm: str, mode: str, tenant: str) -> bool:
        """Tell whether a step with this action asks."""
        return (
            action.effects in self.effects
            and (not self.modes or mode in self.modes)
            and (not self.arms or arm in self.arms)
            and (not self.tenants or tenant in self.tenants)
        )


BY_DEFAULT: Final = (AskRule(modes=(MODEL_MODE,)),)
"""Writes of plans that a model made ask; a client's own plan and recipes do not."""


def parse_policy(text: str) -> tuple[AskRule, ...]:
    """Return the rules of APPROVAL_POLICY. Raises ValueError."""
    if text.strip().lower() == "off":
        return ()
    rules = tuple(_rule(part.split()) for part in text.split(";") if part.strip())
    if not rules:
        raise ValueError(_WANTED)
    return rules


def _rule(words: Sequence[str]) -> AskRule:
    members: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in _KEYS or key in members or not value:
            raise ValueError(_WANTED)
        members[key] = _value(key, value)
    if "plans" in members:
        members["modes"] = members.pop("plans")
    return AskRule(**members)


def _value(key: str, value: str) -> Any:
    names = tuple(value.split(","))
    if key == "effects" and set(names) <= set(_EFFECTS):
        return names
    if key == "plans" and set(names) <= set(_MODES):
        return tuple(_MODES[name] for name in names)
    if key in ("arms", "tenants") and all(map(_NAME.fullmatch, names)):
        return names
    if key == "by" and _NAME.fullmatch(value):
        return value
    if key == "on_expiry" and value in ("reject", "fail"):
        return value
    if key == "expires_in" and re.fullmatch(r"[1-9]\d{0,6}", value) and int(value) <= MAX_EXPIRES_SECONDS:
        return float(value)
    raise ValueError(_WANTED)

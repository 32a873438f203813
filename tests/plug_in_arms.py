"""Arms that a test adds to those of the manifests, for one tenant or for all."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pytest

from orchestrator.models.arm_capability import ARMS, Action, ArmCapability, arm_of

TENANT = "acme"


@contextmanager
def added(*arms: ArmCapability) -> Iterator[None]:
    """Add arms as registered ones, which the tenants that may use them see."""
    ARMS.attach(_Added(arms))
    try:
        yield
    finally:
        ARMS.attach(None)


def declare(monkeypatch: pytest.MonkeyPatch, *arms: ArmCapability) -> None:
    """Add arms until the test ends as if manifests of this process declared them."""
    named = {arm.arm_id: arm for arm in arms}
    monkeypatch.setattr(ARMS, "_static", MappingProxyType({**ARMS.visible(None), **named}))


def plug_in(arm_id: str, *actions: Mapping[str, Any], **more: Any) -> ArmCapability:
    """Return an arm with these actions; see `action`."""
    record = {
        "arm_id": arm_id,
        "name": arm_id.title(),
        "description": f"Does the work of {arm_id}",
        "cost_tier": 1,
        "version": "1.0.0",
        "in_plans": True,
        "queue": f"arm.{arm_id}",
        "process": "arms",
        "pool": "threads",
        "max_concurrent_tasks": 4,
        "kind": "function",
        "is_required": False,
        **more,
    }
    return arm_of({**record, "actions": {str(one["name"]): dict(one) for one in actions}})


def action(name: str, inputs: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the record of an action; `inputs` are the schemas of its members, all of them required."""
    members = {"query": {"type": "string"}} if inputs is None else inputs
    return {
        "name": name,
        "description": f"Does {name}.",
        "capabilities": [name],
        "effects": "read",
        "attachments": "none",
        "timeout_seconds": 60.0,
        "input_schema": {
            "type": "object",
            "properties": dict(members),
            "required": list(members),
            "additionalProperties": False,
        },
        "output_schema": {"type": "object"},
        **more,
    }


def copy_of(offered: Action, **more: Any) -> dict[str, Any]:
    """Return the record of an action that offers the same as another one."""
    return {**vars(offered), **more}


class _Added:
    def __init__(self, arms: Iterable[ArmCapability]) -> None:
        self._arms = {arm.arm_id: arm for arm in arms}

    def find(self, arm_id: str) -> ArmCapability | None:
        return self._arms.get(arm_id)

    def visible(self, tenant: str) -> Iterable[ArmCapability]:
        return [arm for arm in self._arms.values() if arm.tenant in (None, tenant)]

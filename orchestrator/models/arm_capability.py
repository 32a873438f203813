"""Knows the arms: what each offers, on which queue, with which contract; read once from registry/."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

REGISTRY = Path(__file__).parents[1] / "registry"
_DATA = {".json", ".md"}
FORGEABLE = "the code under test ran in the process that wrote this report and could have forged it"
_SPELLINGS = {"guardian": "safety-guardian"}


@dataclass(frozen=True)
class Action:
    """One thing an arm can do, and what may be relied on when it is done again.

    `effects` is none|read|write; `attachments` is none, one (exactly one is read) or any; `max_age_seconds`
    is how long its output stays true (None: as long as its inputs are the same); `timeout_seconds` is the
    default limit; `least_tokens` is what its model takes of a budget even for the smallest question. `tools` are
    what it runs in the sandbox. `met` are criteria {text, check} that every step of the action has by itself: what
    of the output says that it came out well. `unchecked` points at the member of the output that is
    {reason, message} when the output shows nothing, else null. `report_trusted` is false where code that nobody
    trusts runs in the process that writes the report: see FORGEABLE.
    """

    name: str
    description: str
    capabilities: tuple[str, ...]
    effects: str
    idempotent: bool
    deterministic: bool
    attachments: str
    max_age_seconds: int | None
    timeout_seconds: float
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    least_tokens: int = 0
    tools: tuple[str, ...] = ()
    met: tuple[Mapping[str, Any], ...] = ()
    unchecked: str | None = None
    report_trusted: bool = True


@dataclass(frozen=True)
class ArmCapability:
    """What one arm offers; `cost_tier` is 1 (free) to 5, `pool` is threads or prefork."""

    arm_id: str
    name: str
    description: str
    capabilities: tuple[str, ...]
    cost_tier: int
    queue: str
    pool: str
    version: str
    max_concurrent_tasks: int
    in_plans: bool
    actions: Mapping[str, Action]

    @property
    def endpoint(self) -> str:
        """Return the address of the arm's queue."""
        return f"celery://{self.queue}"

    @property
    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what any of its actions takes."""
        return {"oneOf": [_titled(action, action.input_schema) for action in self.actions.values()]}

    @property
    def output_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what any of its actions gives."""
        return {"oneOf": [_titled(action, action.output_schema) for action in self.actions.values()]}


def queue_of(arm_id: str) -> str:
    """Return the queue that the arm's workers consume."""
    return ARMS[arm_id].queue


def canonical_arm(name: str) -> str:
    """Return the arm id that `name` means: `guardian` is accepted for safety-guardian."""
    return _SPELLINGS.get(name, name)


@cache
def registry_digest() -> str:
    """Return the sha256 over all registry files, names and bytes: equal digests, equal contracts."""
    return digest_of(REGISTRY)


def digest_of(directory: Path) -> str:
    """Return the sha256 over the names and bytes of all JSON files and prompts below a directory."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.suffix in _DATA):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(directory).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _titled(action: Action, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": action.name, "description": action.description, **schema}


def _arm(record: Mapping[str, Any]) -> ArmCapability:
    actions = {
        name: Action(
            **{
                **action,
                "name": name,
                "capabilities": tuple(action["capabilities"]),
                "tools": tuple(action.get("tools", ())),
                "met": tuple(action.get("met", ())),
            }
        )
        for name, action in record["actions"].items()
    }
    capabilities = tuple(sorted({word for action in actions.values() for word in action.capabilities}))
    return ArmCapability(**{**record, "capabilities": capabilities, "actions": MappingProxyType(actions)})


def _read() -> Mapping[str, ArmCapability]:
    records = json.loads((REGISTRY / "arms.json").read_text("utf-8"))["arms"]
    return MappingProxyType({record["arm_id"]: _arm(record) for record in records})


ARMS: Mapping[str, ArmCapability] = _read()
ALL_QUEUES: tuple[str, ...] = tuple(arm.queue for arm in ARMS.values())

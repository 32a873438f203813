"""The arms: what each offers, on which queue, with which contract; read once from registry/.

This is the one place that names the arms. Queues, the lines of the Procfile, secrets and roles of processes,
readiness and the sandbox test are derived from it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.models.arm_manifest import read_manifests

REGISTRY = Path(__file__).parents[1] / "registry"
_DATA = {".json", ".md", ".toml"}
FORGEABLE = "the code under test ran in the process that wrote this report and could have forged it"


@dataclass(frozen=True)
class Action:
    """One thing that an arm can do, and whether it is safe to do it again.

    `effects` is none|read|write. `attachments` is none, one (exactly one is read) or any. `timeout_seconds` is the
    default limit. `max_age_seconds` is how long an output stays valid, None: as long as the inputs are the same.
    `least_tokens` is the smallest number of tokens that a call of its model needs. `tools` are the programs that it
    runs in the sandbox. `met` are criteria {text, check} that every step of the action must meet. `unchecked` is a
    JSON pointer into the output: to {reason, message} when the output proves nothing, else to null.
    `report_trusted` is false when untrusted code runs in the process that writes the report: see FORGEABLE. `approval`
    is "ask" (a person approves every step of the action) or "never"; None: the operator's policy decides.
    """

    name: str
    description: str
    capabilities: tuple[str, ...]
    effects: str
    attachments: str
    timeout_seconds: float
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    idempotent: bool = True
    deterministic: bool = True
    max_age_seconds: int | None = None
    least_tokens: int = 0
    tools: tuple[str, ...] = ()
    met: tuple[Mapping[str, Any], ...] = ()
    unchecked: str | None = None
    report_trusted: bool = True
    approval: str | None = None

    @property
    def runs_once(self) -> bool:
        """Return whether a second run could repeat an effect: it writes and is not declared idempotent."""
        return self.effects == "write" and not self.idempotent


@dataclass(frozen=True)
class ArmCapability:
    """What one arm offers, and what its worker processes need.

    `cost_tier` is 1 (free) to 5. `in_plans`: a plan's steps may name it. `module` has the function `make`, which
    returns the arm; None when the arm does no steps. `process` is the name of its line in the Procfile. `pool` is
    threads or prefork, `max_concurrent_tasks` the size of one worker's pool. `asks_models`: its workers get the
    providers' keys. `saves_rounds`: they save rounds and sign permits.
    `needs_sandbox`: its queue is not consumed where no sandbox works. `kind` is builtin, function, http, mcp or human.
    `tenant` is the only tenant that may use it, None: all may. `is_required`: the system is not ready without it.
    """

    arm_id: str
    name: str
    description: str
    capabilities: tuple[str, ...]
    cost_tier: int
    version: str
    in_plans: bool
    actions: Mapping[str, Action]
    queue: str
    process: str
    pool: str
    max_concurrent_tasks: int
    module: str | None = None
    aliases: tuple[str, ...] = ()
    asks_models: bool = False
    saves_rounds: bool = False
    needs_sandbox: bool = False
    kind: str = "builtin"
    tenant: str | None = None
    is_required: bool = True

    @property
    def runs_tools(self) -> bool:
        """Return whether any of its actions runs a program in the sandbox."""
        return any(action.tools for action in self.actions.values())

    @property
    def endpoint(self) -> str:
        """Return the address of the arm's queue."""
        return f"celery://{self.queue}"

    @property
    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the inputs: one alternative for each action."""
        return {"oneOf": [_titled(action, action.input_schema) for action in self.actions.values()]}

    @property
    def output_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the outputs: one alternative for each action."""
        return {"oneOf": [_titled(action, action.output_schema) for action in self.actions.values()]}


def queue_of(arm_id: str) -> str:
    """Return the queue that the arm's workers consume."""
    return ARMS[arm_id].queue


def canonical_arm(name: str) -> str:
    """Return the arm id for a name or an alias; a name of no arm is returned as it is."""
    return next((arm.arm_id for arm in ARMS.values() if name in arm.aliases), name)


@cache
def registry_digest() -> str:
    """Return the sha256 over the names and bytes of all registry files: equal digests mean equal contracts."""
    return digest_of(REGISTRY)


def digest_of(directory: Path) -> str:
    """Return the sha256 over the names and bytes of all JSON, TOML and Markdown files below a directory."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.suffix in _DATA):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(directory).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _titled(action: Action, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": action.name, "description": action.description, **schema}


def _arm(manifest: Mapping[str, Any]) -> ArmCapability:
    record = {**manifest, **manifest["worker"], "aliases": tuple(manifest.get("aliases", ()))}
    del record["worker"]
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


ARMS: Mapping[str, ArmCapability] = MappingProxyType(
    {arm.arm_id: arm for arm in map(_arm, read_manifests(REGISTRY))}
)
ALL_QUEUES: tuple[str, ...] = tuple(arm.queue for arm in ARMS.values())

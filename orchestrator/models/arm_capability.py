"""The arms: what each offers, on which queue, with which contract; read once at start, see orchestrator.registry.

This is the one place that names the arms. Queues, the lines of the Procfile, secrets and roles of processes,
readiness and the sandbox test are derived from it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from orchestrator.models.plan import Offer
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import BUILT_IN, RECIPES_PATH, REGISTRY, find_recipes
from orchestrator.rules.json_pointer import follow
from orchestrator.settings_file import peek

_DATA = {".json", ".md", ".toml"}
REGISTERED: Final = "registered"
"""The source of an arm that was registered over HTTP while the system ran."""
REMOTE: Final = "remote"
"""The pool that serves all registered arms; it is the name of its line in the Procfile, and of its heartbeats."""
REMOTE_QUEUE: Final = "arm.remote"
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

    def why_not_checked(self, output: Any) -> Mapping[str, Any] | None:
        """Return the reason why an output proves nothing, if it has one; older releases wrote none."""
        try:
            why = follow(output, self.unchecked) if self.unchecked else None
        except LookupError:
            return None
        return why if isinstance(why, Mapping) else None


@dataclass(frozen=True)
class ArmCapability:
    """What one arm offers, and what its worker processes need.

    `cost_tier` is 1 (free) to 5. `in_plans`: a plan's steps may name it. `module` has the function `make`, which
    returns the arm; None when the arm does no steps. `process` is the name of its line in the Procfile. `pool` is
    threads or prefork, `max_concurrent_tasks` the size of one worker's pool. `asks_models`: its workers get the
    providers' keys. `saves_rounds`: they save rounds and sign permits.
    `needs_sandbox`: its queue is not consumed where no sandbox works. `kind` is builtin, function, http, mcp or human.
    `tenant` is the only tenant that may use it, None: all may. `is_required`: the system is not ready without it.
    `source` is built-in, ARMS_PATH, `package NAME` or registered, `contract_digest` the sha256 of a plug-in's contracts
    and files; it is empty for a built-in arm. `env` names the variables that only its processes get. `url` is an http
    arm's address, `mcp` the table of an mcp arm's manifest.
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
    source: str = BUILT_IN
    contract_digest: str = ""
    env: tuple[str, ...] = ()
    url: str | None = None
    mcp: Mapping[str, Any] | None = None

    @property
    def has_workers(self) -> bool:
        """Return whether worker processes serve it; persons need none."""
        return self.kind != "human"

    @property
    def is_registered(self) -> bool:
        """Return whether it was registered while the system runs, and may expire."""
        return self.source == REGISTERED

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


class RunTimeArms(Protocol):
    """Arms that are registered while the system runs; several threads may use it at the same time."""

    def find(self, arm_id: str) -> ArmCapability | None:
        """Return the arm with this id (`tenant/arm`, or `arm` when it is for all), or None; may ask Postgres."""
        ...

    def visible(self, tenant: str) -> Iterable[ArmCapability]:
        """Return the registered arms that the tenant may use."""
        ...


class ArmRegistry(Mapping[str, ArmCapability]):
    """All arms by id. Those of the manifests never change; others may be registered at run time and are `attach`ed.

    Iteration, length and all that is derived from them at start (queues, processes, digest) cover the manifests only.
    A look-up of an id that no manifest has asks the attached arms; `visible` lists what a tenant may use.
    """

    def __init__(self, static: Iterable[ArmCapability]) -> None:
        self._static = MappingProxyType({arm.arm_id: arm for arm in static})
        self._registered: RunTimeArms | None = None

    def attach(self, registered: RunTimeArms | None) -> None:
        """Let look-ups find the arms that are registered at run time; None: no longer."""
        self._registered = registered

    def visible(self, tenant: str | None) -> dict[str, ArmCapability]:
        """Return the arms that a tenant may use, by id, those of the manifests first; None: those of the manifests."""
        found = {arm.arm_id: arm for arm in self._static.values() if arm.tenant in (None, tenant)}
        if self._registered is not None and tenant is not None:
            for arm in self._registered.visible(tenant):
                found.setdefault(arm.arm_id, arm)
        return found

    def __getitem__(self, arm_id: str) -> ArmCapability:
        arm = self._static.get(arm_id)
        if arm is None and self._registered is not None:
            arm = self._registered.find(arm_id)
        if arm is None:
            raise KeyError(arm_id)
        return arm

    def __iter__(self) -> Iterator[str]:
        return iter(self._static)

    def __len__(self) -> int:
        return len(self._static)


def queue_of(arm_id: str) -> str:
    """Return the queue that the arm's workers consume."""
    return ARMS[arm_id].queue


def find_action(offer: Offer) -> Action | None:
    """Return the action of an offer; None if its arm is gone since, or no longer has it."""
    arm = ARMS.get(offer.arm)
    return arm.actions.get(offer.action) if arm else None


def canonical_arm(name: str) -> str:
    """Return the arm id for a name or an alias; a name of no arm is returned as it is."""
    return next((arm.arm_id for arm in ARMS.values() if name in arm.aliases), name)


@cache
def registry_digest() -> str:
    """Return the sha256 over all contracts: equal digests mean equal contracts.

    Covers the names and bytes of all registry files and of an operator's recipes, and of each plug-in its contracts and
    its files.
    """
    own = digest_of(REGISTRY)
    added = sorted((arm.arm_id, arm.contract_digest) for arm in ARMS.values() if arm.contract_digest)
    added += sorted(
        (source.path.name, hashlib.sha256(source.path.read_bytes()).hexdigest())
        for source in find_recipes(REGISTRY, peek(RECIPES_PATH))
        if not source.is_built_in and source.path.is_file()
    )
    return hashlib.sha256(json.dumps([own, added]).encode()).hexdigest() if added else own


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


def arm_of(record: Mapping[str, Any]) -> ArmCapability:
    """Return the arm that a record of `read_manifests` describes."""
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
    derived = {
        "aliases": tuple(record.get("aliases", ())),
        "env": tuple(record.get("env", ())),
        "capabilities": tuple(sorted({word for action in actions.values() for word in action.capabilities})),
        "actions": MappingProxyType(actions),
    }
    return ArmCapability(**{**record, **derived})


ARMS = ArmRegistry(arm_of(record) for record in read_manifests(REGISTRY, peek("ARMS_PATH")))
ALL_QUEUES: tuple[str, ...] = (*(arm.queue for arm in ARMS.values() if arm.has_workers), REMOTE_QUEUE)

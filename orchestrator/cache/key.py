"""The key under which a task's result may answer for another task: equal keys, equal tasks. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from orchestrator.models.arm_capability import registry_digest
from orchestrator.models.task_contract import CacheControl, Contract
from orchestrator.settings import Settings
from orchestrator.similarity import canonical_key

_SCHEMA = "c1"


def parts_of(contract: Contract, *, tenant: str, scopes: Iterable[str], world: str) -> dict[str, str]:
    """Return {name: text or digest} of all that decides what the task's result is.

    What is not in it: the task's id, priority, metadata, budget, deadline and callback. `world` is `world_digest`.
    """
    return {
        "schema": _SCHEMA,
        "tenant": tenant,
        "scope": " ".join(sorted(scopes)),
        "world": world,
        "goal": canonical_key(contract.goal),
        "constraints": _digest(contract.constraints or None),
        "context": _digest(contract.context),
        "attachments": _digest(contract.attachments),
        "criteria": _digest(
            sorted(
                [canonical_key(item.text), _canonical(item.check)] for item in contract.acceptance_criteria
            )
        ),
        "output_schema": _digest(contract.output_schema),
        "plan": _digest(contract.plan),
        "arms": _digest([contract.assigned_arm, sorted(contract.required_capabilities)]),
    }


def key_of(parts: Mapping[str, str]) -> str:
    """Return `c1:<digest of all parts but the goal>:<the goal's canonical key>`.

    Tasks that differ in their goals alone have the same `family_of` their keys.
    """
    rest = {name: text for name, text in parts.items() if name != "goal"}
    return f"{_SCHEMA}:{_digest(rest)}:{parts['goal']}"


def family_of(key: str) -> str:
    """Return the digest, in a key, of everything but the goal."""
    return key.split(":", 2)[1]


def world_digest(settings: Settings) -> str:
    """Return the digest of what answers: release, arms, prompts, models, and the policies that shape a result."""
    return _digest(
        [
            version("octollm-orchestrator"),
            registry_digest(),
            [str(model) for model in settings.models],
            str(settings.embeddings),
            settings.llm_extra_body,
            settings.safety_policy,
            settings.executor_min_isolation,
        ]
    )


def is_eligible(contract: Contract) -> bool:
    """Tell whether the cache may be asked about the task, and keep its result, as far as the contract says.

    A client's own plan is a wish to have it run: it is eligible only if the client says something of the cache.
    """
    if contract.redacted or (contract.plan is not None and contract.cache is None):
        return False
    control = control_of(contract)
    return control.reads or control.stores


def control_of(contract: Contract) -> CacheControl:
    """Return what the client allows: everything, if it does not say."""
    return contract.cache or CacheControl()


def _digest(value: Any) -> str:
    return hashlib.blake2b(_canonical(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return the value with whole floats as integers and without null members."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value

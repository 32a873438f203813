"""Owns the exact cache: the key that makes two tasks equal, and the signed entries in Redis that lead to a result."""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import structlog

from orchestrator.cache.signed_store import SignedStore
from orchestrator.models.arm_capability import registry_digest
from orchestrator.models.task_contract import EFFECTS, CacheControl, Contract
from orchestrator.settings import Settings
from orchestrator.similarity import canonical_key

_KEY_VERSION = "c1"
_ENTRY_PREFIX = "entry:"
_TTL_JITTER = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """Pointer from the parts of a key to a result: task `source_id` made it under `source_key`.

    `layer` is "exact" when both keys are equal, "alias" when a judge found the two tasks equivalent.
    """

    parts: Mapping[str, str]
    source_id: str
    source_key: str
    layer: str = "exact"


class ResultCache:
    """One process' access to the shared cache. Thread-safe.

    An entry only points to a task in Postgres; Postgres decides whether that task's result may be served. The other
    cache layers share `store`. `environment` is the `environment_fingerprint` of this process.
    """

    def __init__(self, settings: Settings) -> None:
        self.ttl_seconds = settings.cache_ttl
        self.environment = environment_fingerprint(settings)
        self.store = SignedStore(settings)

    def parts_of(self, contract: Contract, *, tenant: str, scopes: frozenset[str]) -> dict[str, str]:
        """Return the parts of the task's key; see `key_parts`."""
        return key_parts(contract, tenant=tenant, scopes=scopes, environment=self.environment)

    def find(self, parts: Mapping[str, str]) -> CacheEntry | None:
        """Return the entry for these parts in one round trip; None if it is absent, forged or for other parts."""
        found = self.store.get(_ENTRY_PREFIX + key_of(parts))
        entry = CacheEntry(**found) if found is not None else None
        if entry is not None and dict(entry.parts) != dict(parts):
            log.warning("cache.entry_refused", reason="parts differ")
            return None
        return entry

    def put(self, entry: CacheEntry, *, seconds: float) -> None:
        """Store an entry for 90 to 100 % of `seconds`, so that entries do not all expire together."""
        name = _ENTRY_PREFIX + key_of(entry.parts)
        self.store.put(name, asdict(entry), seconds=seconds * random.uniform(1 - _TTL_JITTER, 1))

    def forget(self, key: str) -> None:
        """Delete the entry for a key."""
        self.store.forget(_ENTRY_PREFIX + key)


def key_parts(contract: Contract, *, tenant: str, scopes: Iterable[str], environment: str) -> dict[str, str]:
    """Return {part: text or digest}: everything that decides the task's result.

    Left out on purpose: the task's id, priority, metadata, budget, deadline and callback. `environment` is an
    `environment_fingerprint`.
    """
    return {
        "schema": _KEY_VERSION,
        "tenant": tenant,
        "scope": " ".join(sorted(scopes)),
        "environment": environment,
        "goal": canonical_key(contract.goal),
        "constraints": _digest(contract.constraints or None),
        "context": _digest(contract.context),
        "attachments": _digest(contract.attachments),
        "criteria": _digest(
            sorted(
                [canonical_key(item.text), _canonical_json(item.check)]
                for item in contract.acceptance_criteria
            )
        ),
        "output_schema": _digest(contract.output_schema),
        "plan": _digest([contract.recipe, contract.parameters] if contract.recipe else contract.plan),
        "arms": _digest([contract.assigned_arm, sorted(contract.required_capabilities), *_limited(contract)]),
    }


def _limited(contract: Contract) -> list[str]:
    """Return the limit on the effects of the plan, if there is one: it changes the plan, and so the result."""
    return [] if contract.effects == EFFECTS[-1] else [contract.effects]


def key_of(parts: Mapping[str, str]) -> str:
    """Return `c1:<family>:<canonical key of the goal>`; the family is the digest of all parts but the goal."""
    rest = {name: text for name, text in parts.items() if name != "goal"}
    return f"{_KEY_VERSION}:{_digest(rest)}:{parts['goal']}"


def family_of(key: str) -> str:
    """Return a key's family: equal for tasks that differ in their goals only."""
    return key.split(":", 2)[1]


def environment_fingerprint(settings: Settings) -> str:
    """Return a digest of what produces results: release, arms, models, and the policies that shape a result."""
    return _digest(
        [
            version("octollm-orchestrator"),
            registry_digest(),
            [str(model) for model in settings.all_models],
            str(settings.embeddings),
            settings.llm_extra_body,
            settings.safety_policy,
            settings.executor_min_isolation,
        ]
    )


def is_eligible(contract: Contract) -> bool:
    """Return whether the contract lets the cache serve the task or store its result.

    A client-supplied plan bypasses the cache unless the contract has a `cache` member.
    """
    if contract.redacted or (contract.plan is not None and contract.cache is None):
        return False
    control = control_of(contract)
    return control.reads or control.stores


def control_of(contract: Contract) -> CacheControl:
    """Return the contract's cache control; by default everything is allowed."""
    return contract.cache or CacheControl()


def _digest(value: Any) -> str:
    text = _canonical_json(value)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _canonical_json(value: Any) -> str:
    return json.dumps(_normalized(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _normalized(value: Any) -> Any:
    """Return the value with whole floats as integers and without null members."""
    if isinstance(value, Mapping):
        return {name: _normalized(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_normalized(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value

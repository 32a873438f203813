"""Defines which secrets and database role each kind of process gets, by the names of the Procfile's lines.

An attacker who takes over a process gets its secrets, so each process gets only those its work needs.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.endpoint import KEY_SUFFIX
from orchestrator.settings_file import NO_FILE, VARIABLE

_ROUNDS: Final = tuple(arm.process for arm in ARMS.values() if arm.saves_rounds)
_ARMS: Final = tuple(arm.process for arm in ARMS.values() if not arm.saves_rounds)
KINDS: Final = ("web", *_ROUNDS, *_ARMS, "webhook", "sweeper", "flower")

# the kinds that call models; the others get the models' names but no keys
WITH_MODELS: Final = frozenset(arm.process for arm in ARMS.values() if arm.asks_models)
SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "JWT_PRIVATE_KEY": frozenset(("web",)),
    "JWT_SECRET": frozenset(("web",)),
    "PERMIT_PRIVATE_KEY": frozenset(_ROUNDS),
    "CACHE_SECRET": frozenset(("web", *_ROUNDS, *_ARMS)),
    "WEBHOOK_SECRET": frozenset(("webhook",)),
    "METRICS_TOKEN": frozenset(("web",)),
    "FLOWER_BASIC_AUTH": frozenset(("flower",)),
}
_OF_PROVIDERS: Final = ("OPENAI_", "ANTHROPIC_")

# each kind's Postgres role (orchestrator.memory.roles); flower needs none
ROLES: Final[Mapping[str, str]] = {
    "web": "octollm_api",
    **dict.fromkeys(_ROUNDS, "octollm_rounds"),
    **dict.fromkeys(_ARMS, "octollm_arm"),
    "webhook": "octollm_webhook",
    "sweeper": "octollm_sweeper",
}


def environment_of(kind: str, environ: Mapping[str, str], *, models: Iterable[object] = ()) -> dict[str, str]:
    """Return the part of a complete environment that a process of this kind gets, with the `models` as LLM_CHAIN.

    It names the kind, so that settings are read only from it: neither from `.env` nor from `stack.env`.
    """
    kept = {name: text for name, text in environ.items() if may_receive(kind, name)}
    chain = ",".join(map(str, models))
    fixed = {"OCTOLLM_KIND": kind, VARIABLE: NO_FILE}
    return kept | fixed | ({"LLM_CHAIN": chain} if chain else {})


def may_receive(kind: str, name: str) -> bool:
    """Return whether a process of this kind gets this variable."""
    if name in SECRETS:
        return kind in SECRETS[name]
    return kind in WITH_MODELS or not (name.startswith(_OF_PROVIDERS) or name.endswith(KEY_SUFFIX))

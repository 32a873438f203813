"""Defines which secrets and database role each kind of process gets, by the names of the Procfile's lines.

An attacker who takes over a process gets its secrets, so each process gets only those its work needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from orchestrator.models.arm_capability import ARMS, REMOTE
from orchestrator.models.endpoint import KEY_SUFFIX
from orchestrator.registry.manifest import PLUG_INS
from orchestrator.settings_file import NO_FILE, VARIABLE

_ROUNDS: Final = tuple(arm.process for arm in ARMS.values() if arm.saves_rounds)
# the arms of plug-ins share one line, which serves the arms that ARMS names
_ARMS: Final = tuple(
    dict.fromkeys(
        (*(arm.process for arm in ARMS.values() if arm.has_workers and not arm.saves_rounds), PLUG_INS)
    )
)
KINDS: Final = ("web", *_ROUNDS, *_ARMS, REMOTE, "webhook", "sweeper", "flower")

# the kinds that call models; the others get the models' names but no keys
WITH_MODELS: Final = frozenset(
    arm.process for arm in ARMS.values() if arm.asks_models and arm.process != PLUG_INS
)
# the kinds that can't work without ARM_SECRET where HTTP arms are allowed; an empty kind is any
SIGN_FOR_ARMS: Final = ("", "web", REMOTE)
SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "JWT_PRIVATE_KEY": frozenset(("web",)),
    "JWT_SECRET": frozenset(("web",)),
    "PERMIT_PRIVATE_KEY": frozenset(_ROUNDS),
    "CACHE_SECRET": frozenset(("web", *_ROUNDS, *_ARMS, REMOTE)),
    "ARM_SECRET": frozenset(("web", REMOTE, PLUG_INS)),
    "WEBHOOK_SECRET": frozenset(("webhook",)),
    # it may hold a password
    "PIP_INDEX_URL": frozenset((ARMS["executor"].process,)),
    # whoever may serve metrics (METRICS_LISTEN)
    "METRICS_TOKEN": frozenset(("web", *_ROUNDS, *_ARMS, REMOTE, "webhook", "sweeper")),
    "FLOWER_BASIC_AUTH": frozenset(("flower",)),
}
_OF_PROVIDERS: Final = ("OPENAI_", "ANTHROPIC_")

# each kind's Postgres role (orchestrator.memory.roles); flower needs none
ROLES: Final[Mapping[str, str]] = {
    "web": "octollm_api",
    **dict.fromkeys(_ROUNDS, "octollm_rounds"),
    **dict.fromkeys((*_ARMS, REMOTE), "octollm_arm"),
    "webhook": "octollm_webhook",
    "sweeper": "octollm_sweeper",
}


def environment_of(
    kind: str, environ: Mapping[str, str], *, models: Iterable[object] = (), arms: Sequence[str] = ()
) -> dict[str, str]:
    """Return the part of a complete environment that a process of this kind gets, with the `models` as LLM_CHAIN.

    It names the kind, so that settings are read only from it: neither from `.env` nor from `stack.env`. `arms` are
    the plug-ins that a process of the kind `arms` serves.
    """
    kept = {name: text for name, text in environ.items() if may_receive(kind, name, arms=arms)}
    chain = ",".join(map(str, models))
    fixed = {"OCTOLLM_KIND": kind, VARIABLE: NO_FILE}
    if kind == PLUG_INS:
        fixed["ARMS"] = ",".join(arms)
    return kept | fixed | ({"LLM_CHAIN": chain} if chain else {})


def may_receive(kind: str, name: str, *, arms: Sequence[str] = ()) -> bool:
    """Return whether a process of this kind, which serves these plug-ins, gets this variable.

    A variable that a manifest names in `env` goes only to that arm's processes.
    """
    served = [ARMS[arm] for arm in arms] if kind == PLUG_INS else []
    if name == "ARM_SECRET" and kind == PLUG_INS:
        return any(arm.kind == "http" for arm in served)
    if name in SECRETS:
        return kind in SECRETS[name]
    if any(name in arm.env for arm in ARMS.values()):
        return any(name in arm.env for arm in served)
    asks_models = kind in WITH_MODELS or any(arm.asks_models for arm in served)
    return asks_models or not (name.startswith(_OF_PROVIDERS) or name.endswith(KEY_SUFFIX))

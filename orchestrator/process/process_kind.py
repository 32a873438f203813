"""Says what each kind of process may know: one table, by the names of the Procfile's lines.

A process that was taken over can use what it was given. So it is given what its work needs and no more.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.settings_file import NO_FILE, VARIABLE

_ARMS: Final = ("retriever", "coder", "executor", "guardian")
_ROUNDS: Final = ("planner", "judge")
KINDS: Final = ("web", *_ROUNDS, *_ARMS, "webhook", "sweeper", "flower")

# the kinds that ask models; all others know which there are, and have no key for them
WITH_MODELS: Final = frozenset((*_ROUNDS, "retriever", "coder"))
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

# the role of Postgres (orchestrator.memory.roles) whose rights a kind needs; flower needs none
ROLES: Final[Mapping[str, str]] = {
    "web": "octollm_api",
    **dict.fromkeys(_ROUNDS, "octollm_rounds"),
    **dict.fromkeys(_ARMS, "octollm_arm"),
    "webhook": "octollm_webhook",
    "sweeper": "octollm_sweeper",
}


def environment_of(kind: str, environ: Mapping[str, str], *, models: Iterable[object] = ()) -> dict[str, str]:
    """Return what a process of this kind gets of a whole environment, which names `models` where it has keys for them.

    It says which kind it is, so that settings are read from there alone: neither from `.env` nor from `stack.env`.
    """
    kept = {name: text for name, text in environ.items() if may_receive(kind, name)}
    chain = ",".join(map(str, models))
    told = {"OCTOLLM_KIND": kind, VARIABLE: NO_FILE}
    return kept | told | ({"LLM_CHAIN": chain} if chain else {})


def may_receive(kind: str, name: str) -> bool:
    """Tell whether a process of this kind gets this variable."""
    if name in SECRETS:
        return kind in SECRETS[name]
    return kind in WITH_MODELS or not name.startswith(_OF_PROVIDERS)

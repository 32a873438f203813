"""Injects a defect into the product: Python imports this module at its start if its directory is in PYTHONPATH.

CHAOS_MUTATION names the defect. `fence`: a claim takes what runs, and whoever is done may say so again. `count`: parts
of a chord are not counted. `mark`: the effect of a write is not marked as begun. `publish`: what a transaction made due
is sent before its commit, which takes a tenth of a second, as on a busy disk. Outcomes are stored statement by
statement, because the functions in Postgres can't be changed from here.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

_TEXTS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "fence": {
        "claim": ("s.state = 'running' AND s.due < now()", "s.state = 'running'"),
        "finish": (
            "(s.state IN ('queued', 'running') OR (s.state = 'waiting' AND s.effect_attempt IS NOT NULL))",
            "true",
        ),
    },
    "count": {"count_part": ("SET done = c.done + 1", "SET done = c.done")},
    "mark": {"begin": ("CASE WHEN %(once)s THEN s.attempt END", "NULL")},
}
_COMMIT_SECONDS: Final = 0.1


def _break_texts(changes: Mapping[str, tuple[str, str]]) -> None:
    """Change statements as they are read."""
    from orchestrator.chord import sql  # noqa: PLC0415  # only where it is to be broken

    read = sql.load

    def load(module_file: str) -> dict[str, str]:
        texts = read(module_file)
        for name, (sound, broken) in changes.items():
            if name in texts and module_file.endswith(
                ("memory/claims.py", "memory/steps.py", "memory/effects.py", "chord/chord.py")
            ):
                if sound not in texts[name]:
                    raise RuntimeError(f"the mutation does not know the statement {name} any more: {sound!r}")
                texts[name] = texts[name].replace(sound, broken)
        return texts

    sql.load = load


def _store_step_by_step() -> None:
    """Let the result backend use the statements that are broken, not the functions in Postgres."""
    from orchestrator.chord import backend  # noqa: PLC0415  # only where it is to be broken

    backend.PostgresBackend._store_at_once = lambda *_: None  # type: ignore[method-assign]


def _publish_early() -> None:
    """Publish inside the transaction that makes the work due."""
    from orchestrator.chord import backend, outbox  # noqa: PLC0415  # as above

    write: Callable[..., Any] = backend.PostgresBackend._write

    def write_and_publish(self: Any, *arguments: Any, **options: Any) -> Any:
        due = write(self, *arguments, **options)
        outbox.publish_all(self.app, due.signatures)
        due.signatures.clear()
        time.sleep(_COMMIT_SECONDS)
        return due

    backend.PostgresBackend._write = write_and_publish  # type: ignore[method-assign]  # that is the defect


_mutation = os.environ.get("CHAOS_MUTATION", "")
if _mutation == "publish":
    _publish_early()
elif _mutation:
    _break_texts(_TEXTS[_mutation])
if _mutation:
    # last: it imports the modules whose statements are changed as they are read
    _store_step_by_step()

"""Injects a defect into the product: Python imports this module at its start if its directory is in PYTHONPATH.

CHAOS_MUTATION names the defect. `fence`: a claim takes what runs, and whoever is done may say so again. `count`: parts
of a chord are not counted. `publish`: what a transaction made due is sent before its commit, which takes a tenth of a
second, as on a busy disk. The first two also break the functions in Postgres, as the migration reads them.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_TEXTS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "fence": {
        "claim": ("s.state = 'running' AND s.due < now()", "s.state = 'running'"),
        "finish": ("s.state IN ('queued', 'running') AND s.attempt > 0", "s.attempt > 0"),
    },
    "count": {"count_part": ("SET done = c.done + 1", "SET done = c.done")},
}
_FUNCTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "fence": ("s.state IN ('queued', 'running') AND s.attempt > 0", "s.attempt > 0"),
    "count": ("done = c.done + 1,", "done = c.done,"),
}
_MIGRATION: Final = "0015_transitions.sql"
_COMMIT_SECONDS: Final = 0.1


def _break_texts(changes: Mapping[str, tuple[str, str]]) -> None:
    """Change statements as they are read."""
    from orchestrator.chord import sql  # noqa: PLC0415  # only where it is to be broken

    read = sql.load

    def load(module_file: str) -> dict[str, str]:
        texts = read(module_file)
        for name, (sound, broken) in changes.items():
            if name in texts and module_file.endswith(
                ("memory/claims.py", "memory/steps.py", "chord/chord.py")
            ):
                if sound not in texts[name]:
                    raise RuntimeError(f"the mutation does not know the statement {name} any more: {sound!r}")
                texts[name] = texts[name].replace(sound, broken)
        return texts

    sql.load = load


def _break_function(sound: str, broken: str) -> None:
    """Change the migration that creates the functions, as it is read."""
    read = Path.read_text

    def read_text(self: Path, *arguments: Any, **options: Any) -> str:
        text = read(self, *arguments, **options)
        if self.name == _MIGRATION:
            if sound not in text:
                raise RuntimeError(f"the mutation does not know {_MIGRATION} any more: {sound!r}")
            text = text.replace(sound, broken)
        return text

    Path.read_text = read_text  # type: ignore[method-assign]  # that is the defect


def _publish_early() -> None:
    """Publish inside the transaction that makes the work due; what one statement makes due can't be sent before it."""
    from orchestrator.chord import backend, outbox  # noqa: PLC0415  # as above

    backend.PostgresBackend._store_at_once = lambda *_: None  # type: ignore[method-assign]  # the other way
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
    _break_function(*_FUNCTIONS[_mutation])

"""Chooses the keys and secrets of a stack: those of the environment, else last time's, else new ones."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orchestrator.models import signing_key
from orchestrator.settings_file import read_stack_file

PERMIT_KEY_FILE: Final = "permit.key"
_SECRET_BYTES: Final = 48


def choose(home: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the stack's secrets by the names of their settings.

    A stack of a release before 0.2 signed everything with JWT_SECRET: it goes on with that one for its webhooks, whose
    receivers know what follows from it. Its tokens end; who has a key gets a new one for it.
    """
    kept = read_stack_file(home)

    def found(name: str, make: Callable[[], str], *, earlier: str = "") -> str:
        return wanted.get(name) or kept.get(name) or kept.get(earlier) or make()

    return {
        "JWT_PRIVATE_KEY": found("JWT_PRIVATE_KEY", signing_key.new_private_key),
        "CACHE_SECRET": found("CACHE_SECRET", _new_secret),
        "WEBHOOK_SECRET": found("WEBHOOK_SECRET", _new_secret, earlier="JWT_SECRET"),
    }


def permit_key(home: Path, wanted: Mapping[str, str]) -> str:
    """Return the key that permits are signed with; it has a file of its own, and no operator needs it."""
    path = home / PERMIT_KEY_FILE
    if given := wanted.get("PERMIT_PRIVATE_KEY"):
        return given
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(signing_key.new_private_key())
    return path.read_text()


def _new_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)

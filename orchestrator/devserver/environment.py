"""The environment of a stack's processes: its secrets, kept from one start to the next, and its PATH."""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orchestrator.models import signing_key
from orchestrator.settings_file import read_stack_file

PERMIT_KEY_FILE: Final = "permit.key"
_SECRET_BYTES: Final = 48


def choose_secrets(home: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the stack's secrets by setting name: from `wanted`, else from the last start, else new ones.

    Releases before 0.2 signed everything with JWT_SECRET. A stack of such a release keeps it as WEBHOOK_SECRET, so
    that receivers need no new secret; its tokens become invalid, and holders of an API key can get new ones.
    """
    kept = read_stack_file(home)

    def find(name: str, make: Callable[[], str], *, earlier: str = "") -> str:
        return wanted.get(name) or kept.get(name) or kept.get(earlier) or make()

    return {
        "JWT_PRIVATE_KEY": find("JWT_PRIVATE_KEY", signing_key.new_private_key),
        "CACHE_SECRET": find("CACHE_SECRET", _new_secret),
        "WEBHOOK_SECRET": find("WEBHOOK_SECRET", _new_secret, earlier="JWT_SECRET"),
        "ARM_SECRET": find("ARM_SECRET", _new_secret),
    }


def permit_key(home: Path, wanted: Mapping[str, str]) -> str:
    """Return the private key that signs permits; it has its own file, since operators do not need it."""
    path = home / PERMIT_KEY_FILE
    if given := wanted.get("PERMIT_PRIVATE_KEY"):
        return given
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(signing_key.new_private_key())
    return path.read_text()


def environment(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with `layers` applied in order, and this virtualenv's programs first in PATH."""
    merged = dict(os.environ)
    for layer in layers:
        merged.update(layer)
    # else each of the processes compiles every module at each start: half of its CPU time
    merged.pop("PYTHONDONTWRITEBYTECODE", None)
    merged["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), merged.get("PATH", os.defpath)])
    return merged


def _new_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)

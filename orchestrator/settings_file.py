"""Reads the files that settings stand in: the working directory's `.env`, and a stack's `stack.env`."""

import os
from functools import cache
from pathlib import Path

from orchestrator.models.errors import SettingsError

DEFAULT_HOME = ".octollm"
STACK_FILE = "stack.env"
VARIABLE = "OCTOLLM_ENV_FILE"
NO_FILE = "none"


@cache
def read_env_file() -> Path | None:
    """Put the settings of `.env` into the environment, which wins; return the file, None when there is none.

    OCTOLLM_ENV_FILE names another file, or `none`. It is set here, so that processes that this one starts read
    the same file wherever they run. Only the first call of a process reads. Raises SettingsError.
    """
    named = os.environ.get(VARIABLE, "").strip()
    path = Path(named or ".env").absolute()
    if named == NO_FILE or not (named or path.is_file()):
        os.environ[VARIABLE] = NO_FILE
        return None
    from dotenv import dotenv_values  # noqa: PLC0415 - only where there is a file

    try:
        # not interpolated: honcho, which may have read the file before, does not either
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    if values is None:
        raise SettingsError(f"{VARIABLE} names {path}, which is no file: correct it, or set it to {NO_FILE}")
    for name, text in values.items():
        if text is not None:
            os.environ.setdefault(name, text)
    os.environ[VARIABLE] = str(path)
    return path


def read_stack_file(home: Path) -> dict[str, str]:
    """Return the settings that `octollm up` chose for the stack in `home`; none when it never ran."""
    try:
        text = (home / STACK_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}

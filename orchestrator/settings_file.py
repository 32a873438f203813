"""Reads the files with settings: `.env` in the working directory, and `stack.env` of a running stack."""

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
    """Add the settings of `.env` to the environment, which takes precedence; return the file, or None.

    OCTOLLM_ENV_FILE names another file, or `none`. It is set here, so that child processes read the same file in any
    working directory. Only the first call reads the file. Raises SettingsError.
    """
    named = os.environ.get(VARIABLE, "").strip()
    path = Path(named or ".env").absolute()
    if named == NO_FILE or not (named or path.is_file()):
        os.environ[VARIABLE] = NO_FILE
        return None
    from dotenv import dotenv_values  # noqa: PLC0415 - needed only if there is a file

    try:
        # without interpolation, like honcho, which may have read the file before
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    if values is None:
        raise SettingsError(
            f"{VARIABLE} names {path}, which is not a file: correct it, or set it to {NO_FILE}"
        )
    for name, text in values.items():
        if text is not None:
            os.environ.setdefault(name, text)
    os.environ[VARIABLE] = str(path)
    return path


def read_stack_file(home: Path) -> dict[str, str]:
    """Return the settings that `octollm up` wrote for the stack in `home`; {} if it never ran there."""
    try:
        text = (home / STACK_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}

"""Reads the files with settings: `.env`, `stack.env` of a running stack, and files that hold one setting each."""

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from orchestrator.models.errors import SettingsError

DEFAULT_HOME = ".octollm"
STACK_FILE = "stack.env"
VARIABLE = "OCTOLLM_ENV_FILE"
NO_FILE = "none"
FILE_SUFFIX = "_FILE"
_LARGEST_VALUE_BYTES = 65_536


@cache
def read_env_file() -> Path | None:
    """Add the settings of `.env` to the environment, which takes precedence; return the file, or None.

    OCTOLLM_ENV_FILE names another file, or `none`. It is set here, so that child processes read the same file in any
    working directory. Only the first call reads the file. Raises SettingsError.
    """
    found = _values(os.environ.get(VARIABLE, "").strip())
    if found is None:
        os.environ[VARIABLE] = NO_FILE
        return None
    path, values = found
    for name, text in values.items():
        os.environ.setdefault(name, text)
    os.environ[VARIABLE] = str(path)
    return path


def peek(name: str) -> str:
    """Return one setting from the environment or `.env`, without changing the environment; "" if it is not set.

    It is for what must be known while modules are imported. Raises SettingsError.
    """
    if name in os.environ:
        return os.environ[name].strip()
    found = _values(os.environ.get(VARIABLE, "").strip())
    return found[1].get(name, "").strip() if found else ""


def _values(named: str) -> tuple[Path, dict[str, str]] | None:
    """Return the path and the values of the file that OCTOLLM_ENV_FILE names; None if there is none to read."""
    path = Path(named or ".env").absolute()
    if named == NO_FILE or not (named or path.is_file()):
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
    return path, {name: text for name, text in values.items() if text is not None}


def read_stack_file(home: Path) -> dict[str, str]:
    """Return the settings that `octollm up` wrote for the stack in `home`; {} if it never ran there."""
    try:
        text = (home / STACK_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def with_values_of_files(environ: Mapping[str, str], *, is_ours: Callable[[str], bool]) -> dict[str, str]:
    """Return `environ` with each NAME_FILE of a setting replaced by NAME with the text of that file.

    That is how Docker, Compose and Kubernetes hand secrets over. `is_ours` says whether NAME is a setting. Raises
    SettingsError for a file that can't be read, that is empty or larger than 64 KiB, and if NAME is set as well.
    """
    values = dict(environ)
    for variable, named in environ.items():
        name = variable.removesuffix(FILE_SUFFIX)
        if name == variable or not is_ours(name):
            continue
        del values[variable]
        if path := named.strip():
            if environ.get(name, "").strip():
                raise SettingsError(f"{name} and {variable} are both set: unset one of them")
            values[name] = _read_value(variable, Path(path))
    return values


def _read_value(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_VALUE_BYTES + 1)
        text = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{variable} names {path}, which can't be read ({type(error).__name__}): correct it"
        ) from None
    if not text:
        raise SettingsError(f"{variable} names {path}, which is empty: write the value into it")
    if len(content) > _LARGEST_VALUE_BYTES or "\0" in text:
        raise SettingsError(
            f"{variable} names {path}, which is no text of at most {_LARGEST_VALUE_BYTES} bytes"
        )
    return text

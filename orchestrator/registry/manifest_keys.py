"""The keys of a manifest: what each must be, whether it must be there, and who may write it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

ARM_ID: Final = re.compile(r"[a-z][a-z0-9_-]{2,39}")
# as MCP allows tools to be named
ACTION_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
POOLS: Final = ("threads", "prefork")
EFFECTS: Final = ("none", "read", "write")
_QUEUE = re.compile(r"planner|judge|arm\.[a-z0-9_.-]{1,60}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_EVERYBODYS = frozenset(("HOME", "LANG", "PATH", "PYTHONPATH", "TMPDIR", "USER", "VIRTUAL_ENV"))
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")


@dataclass(frozen=True)
class Key:
    """One key: `wanted` completes "must be ..."; `fits` tells whether a value is so. `ours`: only built-in arms."""

    wanted: str
    fits: Callable[[Any], bool]
    required: bool = False
    ours: bool = False


def _text(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and least <= len(value.strip()) and len(value) <= most


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _like(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _several(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    one = _like(pattern)
    return lambda value: isinstance(value, list) and all(map(one, value))


def _one_of(choices: tuple[str, ...]) -> Key:
    return Key(
        " or ".join((", ".join(f'"{one}"' for one in choices[:-1]), f'"{choices[-1]}"')), choices.__contains__
    )


def _flag() -> Key:
    return Key("true or false", lambda value: isinstance(value, bool))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= 86_400


def _are_own_variables(value: Any) -> bool:
    return _several(_VARIABLE)(value) and not _EVERYBODYS & set(value)


_TABLE = Key("a table", _is_table)
_CONTRACT = Key(
    "a table of members and their types, or the name of a type",
    lambda value: isinstance(value, (str, Mapping)),
)
_ANY_OBJECT = Key("a JSON Schema of an object", _is_table)

ARM: Final[Mapping[str, Key]] = {
    "arm_id": Key("3 to 40 of a-z, 0-9, _ and -, starting with a letter", _like(ARM_ID), required=True),
    "name": Key("a text of 3 to 50 characters", _text(3, 50)),
    "description": Key(
        "a text of 10 to 200 characters that says what the arm does", _text(10, 200), required=True
    ),
    "version": Key('a text, such as "1.0.0"; a new one when the behaviour changes', _text(1, 40)),
    "cost_tier": Key("a whole number from 1 (free) to 5", _whole(1, 5)),
    "in_plans": _flag(),
    "is_required": _flag(),
    "kind": _one_of(("function", "http", "mcp")),
    "env": Key(
        "a list of names of environment variables, none of which all programs need", _are_own_variables
    ),
    "url": Key("an address that starts with https:// or http://", _like(_URL)),
    "mcp": _TABLE,
    "worker": _TABLE,
    "types": _TABLE,
    "actions": _TABLE,
    "aliases": Key("a list of names", _several(ARM_ID), ours=True),
}
WORKER: Final[Mapping[str, Key]] = {
    "module": Key('the name of a Python module, such as "weather.functions"', _like(_MODULE)),
    "queue": Key('"arm." and a name of a-z, 0-9, _, . and -', _like(_QUEUE)),
    "pool": _one_of(POOLS),
    "max_concurrent_tasks": Key("a whole number from 1 to 1000", _whole(1, 1000)),
    "asks_models": _flag(),
    "needs_sandbox": _flag(),
    "kind": Key('"human"', lambda value: value == "human", ours=True),
    "process": Key("a line of the Procfile", _text(1, 40), ours=True),
    "saves_rounds": Key("true or false", lambda value: isinstance(value, bool), ours=True),
}
ACTION: Final[Mapping[str, Key]] = {
    "description": Key(
        "a text of 1 to 1000 characters that says what the action does", _text(1, 1000), required=True
    ),
    "effects": Key(
        '"none", "read" (reads something that may change) or "write" (changes something outside)',
        EFFECTS.__contains__,
        required=True,
    ),
    "idempotent": _flag(),
    "deterministic": _flag(),
    "input": _CONTRACT,
    "output": _CONTRACT,
    "input_schema": _ANY_OBJECT,
    "output_schema": _ANY_OBJECT,
    "capabilities": Key("a list of words of a-z, A-Z, 0-9, _, ., : and -", _several(_WORD)),
    "attachments": _one_of(("none", "one", "any")),
    "timeout_seconds": Key("a number of seconds above 0 and at most 86400", _is_seconds),
    "max_age_seconds": Key(
        "a whole number of seconds; 0: the result is never used again", _whole(0, 31_536_000)
    ),
    "least_tokens": Key("a whole number of tokens", _whole(0, 1_000_000)),
    "tools": Key("a list of names of programs", _several(_WORD)),
    "approval": _one_of(("ask", "never")),
    "met": Key("a list of criteria", lambda value: isinstance(value, list), ours=True),
    "unchecked": Key("a JSON pointer", _text(0, 200), ours=True),
    "report_trusted": Key("true or false", lambda value: isinstance(value, bool), ours=True),
}

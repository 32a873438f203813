"""Reads a recipe's file, JSON or YAML, and says what is wrong with it and what to write instead."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from orchestrator.planner.recipe_template import groups_in, names_in
from orchestrator.process import lean
from orchestrator.registry.short_types import ShortTypes
from orchestrator.registry.sources import REGISTRY, Source
from orchestrator.rules.json_schema import faults as schema_faults_of
from orchestrator.rules.plain_yaml import decode_yaml
from orchestrator.rules.schema_check import schema_faults
from orchestrator.rules.strict_json import decode

MAX_RECIPE_BYTES = 256 * 1024
MAX_PARAMETERS = 20
LAST_RANK = 100
NEEDS: Mapping[str, str] = {
    "nothing": "no file",
    "text": "attached files or a context",
    "file": "exactly one attached file",
    "files": "exactly two attached files, the older one first; files with the same content count once",
    "table": "exactly one attached table (.csv, .tsv, .json, .yaml, .yml or .md)",
    "tables": "exactly two attached tables (.csv, .tsv or .txt), the older one first; files with the same content "
    "count once",
    "package": "exactly one attached Python package (.tar.gz, .tgz, .tar, .zip, .whl or a .py file)",
    "script": "one attached Python script (.py) and the files to run it on, not packed; INPUT.expected beside "
    "an input holds what the script must print for it",
}
PROVIDED: Mapping[str, tuple[str, ...]] = {
    "file": ("attachment",),
    "files": ("first", "second"),
    "table": ("attachment",),
    "tables": ("first", "second"),
    "package": ("attachment",),
    "script": ("script", "count", "inputs", "known", "number", "input", "name", "expected"),
}
"""The values and groups that the attached files give to a recipe's templates, by what it needs."""
GROUPS: Mapping[str, tuple[str, ...]] = {"script": ("inputs", "known")}
"""Those of PROVIDED that are groups: steps can be repeated for their members."""
FROM_GOAL = ("terms", "phrase", "phrases", "choice")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,31}")
_WORDS = ("verbs", "nouns", "extras", "unless", "stop_words")
_TEXTS = ("recipe", "version", "description")
_MEMBERS = {*_TEXTS, *_WORDS, "say", "needs", "rank", "parameters", "steps", "result"}


@dataclass(frozen=True)
class Parameter:
    """A value that the steps of a recipe are filled with; `schema` is its JSON Schema.

    `from_goal` says how it is taken from a goal that chose the recipe by its words: terms (the quoted phrases, else the
    meaningful words, as a query), phrase (the first quoted phrase), phrases (all of them) or choice (the last word
    that is one of the schema's `enum`).
    """

    name: str
    schema: Mapping[str, Any]
    description: str = ""
    is_required: bool = True
    default: Any = None
    from_goal: str | None = None


@dataclass(frozen=True)
class Recipe:
    """The words of the goals that a recipe fits, and the steps that it makes; see docs/how-to/write-a-recipe.md.

    A goal fits when it has one of the verbs and one of the nouns and none of `unless`; `extras` only raise the number
    of matched words. The lowest `rank` wins among recipes with equal numbers. The noun "?" stands for a question.
    """

    recipe: str
    version: str
    description: str
    say: str
    needs: str
    steps: tuple[Mapping[str, Any], ...]
    rank: int = LAST_RANK
    verbs: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    stop_words: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    result: Any = None
    origin: str = "built-in"

    @property
    def takes_quotes(self) -> bool:
        """Return whether quoted phrases of a goal are values of the recipe."""
        return any(one.from_goal not in (None, "choice") for one in self.parameters)


def read_record(source: Source) -> Any:
    """Return the JSON value in a recipe's file; raises ValueError or OSError."""
    path = source.path
    if not path.is_file():
        raise ValueError("RECIPES_PATH names it, and it is not a directory: make it, or correct RECIPES_PATH")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise ValueError(f"is larger than {MAX_RECIPE_BYTES:,} bytes: a recipe is a short list of steps")
    text = path.read_text("utf-8-sig")
    if path.suffix == ".json":
        return decode(text.encode())
    lean.allow("yaml")
    try:
        return decode_yaml(text)
    except ValueError as error:
        raise ValueError(f"is not plain YAML: {error}") from error


def recipe_of(record: Any, origin: str) -> Recipe:
    """Return the recipe that a file's content describes; raises ValueError, which says what to write."""
    if not isinstance(record, Mapping):
        raise ValueError("must be an object with recipe, version, description and steps")
    if fault := next(_member_faults(record), None):
        raise ValueError(fault)
    members: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    members["parameters"] = tuple(_parameters(record.get("parameters", {})))
    members.setdefault("say", f"octollm run --recipe {record['recipe']}")
    members.setdefault("needs", "nothing")
    recipe = Recipe(**{**members, "result": record.get("result"), "origin": origin})
    known = {"goal", *PROVIDED.get(recipe.needs, ()), *(one.name for one in recipe.parameters)}
    if unknown := sorted(names_in([record["steps"], record.get("result")]) - known):
        raise ValueError(
            f"steps: {{{unknown[0]}}} is no value of this recipe: declare it in parameters, or use one of "
            f"{', '.join(sorted(known))}"
        )
    groups = groups_in([record["steps"], record.get("result")])
    if unknown := sorted(groups - {*GROUPS.get(recipe.needs, ())}):
        raise ValueError(
            f"steps: for_each names {unknown[0]!r}, which is no group of files: write {{{unknown[0]}}} for a list"
        )
    return recipe


def _member_faults(record: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(set(map(str, record)) - _MEMBERS):
        yield f"has an unknown member {name[:64]!r}: the members are {', '.join(sorted(_MEMBERS))}"
    for name in _TEXTS:
        if not isinstance(record.get(name), str) or not record[name].strip():
            yield f"{name}: must be a text"
    if not _NAME.fullmatch(str(record.get("recipe"))):
        yield "recipe: must be 1 to 64 of a-z, 0-9 and '-', starting with a letter"
    for name in _WORDS:
        words = record.get(name, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            yield f"{name}: must be a list of words"
    yield from (wanted for is_right, wanted in _shapes(record) if not is_right)


def _shapes(record: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Yield for each other member whether it is right, and what it must be."""
    steps = record.get("steps")
    yield isinstance(record.get("say", ""), str), "say: must be an example of a goal that the recipe fits"
    yield record.get("needs", "nothing") in NEEDS, f"needs: must be one of {', '.join(NEEDS)}"
    yield isinstance(record.get("rank", 0), int), "rank: must be a whole number; the lowest wins"
    is_list = isinstance(steps, list) and bool(steps) and all(isinstance(step, Mapping) for step in steps)
    yield is_list, "steps: must be a list of at least one step, as in a plan"


def _parameters(written: Any) -> Iterator[Parameter]:
    if not isinstance(written, Mapping) or len(written) > MAX_PARAMETERS:
        raise ValueError(f"parameters: must be an object of at most {MAX_PARAMETERS} names and types")
    types = ShortTypes(_shared_types())
    for key, one in written.items():
        place = f"parameters.{key}"
        name = str(key).removesuffix("?")
        if not _PARAMETER.fullmatch(name):
            raise ValueError(f"{place}: a name is 1 to 32 of a-z, 0-9 and '_', starting with a letter")
        given = {"type": one} if isinstance(one, (str, list)) else one
        known = {"type", "default", "description", "from_goal"}
        if not isinstance(given, Mapping) or "type" not in given or set(given) - known:
            raise ValueError(f"{place}: must be a type, or an object of {', '.join(sorted(known))}")
        if given.get("from_goal") not in (None, *FROM_GOAL):
            raise ValueError(f"{place}.from_goal: must be one of {', '.join(FROM_GOAL)}")
        schema = types.contract({name: given["type"]})["properties"][name]
        yield _parameter(str(key), given, schema, place)


def _parameter(key: str, given: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Parameter:
    if wrong := schema_faults(schema):
        raise ValueError(f"{place}.type: {wrong[0]}")
    default = given.get("default")
    if default is not None and (faults := schema_faults_of(schema, default)):
        raise ValueError(f"{place}.default: {faults[0].message}")
    return Parameter(
        key.removesuffix("?"),
        schema,
        str(given.get("description") or schema.get("description", "")),
        is_required=default is None and not key.endswith("?"),
        default=default,
        from_goal=given.get("from_goal"),
    )


@cache
def _shared_types() -> dict[str, Any]:
    return dict(tomllib.loads((REGISTRY / "types.toml").read_text("utf-8"))["types"])

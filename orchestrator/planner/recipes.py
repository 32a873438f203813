"""Owns the recipes: the built-in ones and those of RECIPES_PATH, read once; finds one, and reads its parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import structlog

from orchestrator.models.errors import InvalidInput
from orchestrator.planner.recipe_reader import NEEDS, Recipe, read_record, recipe_of
from orchestrator.planner.references import is_reference
from orchestrator.registry.sources import RECIPES_PATH, REGISTRY, Source, find_recipes
from orchestrator.rules.json_schema import faults as schema_faults_of
from orchestrator.rules.strict_json import decode
from orchestrator.settings_file import peek

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Recipes:
    """All usable recipes by name, and {file, reason} of each file that holds none."""

    by_name: Mapping[str, Recipe] = field(default_factory=dict)
    left_out: tuple[Mapping[str, str], ...] = ()


@cache
def loaded() -> Recipes:
    """Return the recipes of the registry and of RECIPES_PATH, read at the first call.

    A file of the operator's that holds no usable recipe is left out (docs/decisions/0033).
    """
    return read_recipes(find_recipes(REGISTRY, peek(RECIPES_PATH)))


def report_left_out() -> None:
    """Log each file of RECIPES_PATH that holds no usable recipe; call it once, at the process's start."""
    for item in loaded().left_out:
        log.error("recipe.left_out", file=item["file"], reason=item["reason"])


def recipes() -> tuple[Recipe, ...]:
    """Return all usable recipes, the built-in ones first."""
    return tuple(loaded().by_name.values())


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name; raises InvalidInput, which names the known ones."""
    if found := loaded().by_name.get(name):
        return found
    broken = [item for item in loaded().left_out if item["recipe"] == name]
    if broken:
        raise InvalidInput.at("recipe", f"{broken[0]['file']} can't be used: {broken[0]['reason']}")
    raise InvalidInput.at("recipe", f"no recipe {name[:64]!r}; known: {', '.join(loaded().by_name)}")


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return what users need to know of a recipe; `parameters` are {name, schema, description, required, default}."""
    return {
        "recipe": recipe.recipe,
        "version": recipe.version,
        "description": recipe.description,
        "say": recipe.say,
        "needs": NEEDS[recipe.needs],
        "origin": recipe.origin,
        "parameters": [
            {
                "name": one.name,
                "schema": dict(one.schema),
                "description": one.description,
                "required": one.is_required,
                "default": one.default,
            }
            for one in recipe.parameters
        ],
    }


def read_values(recipe: Recipe, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the values of the parameters, with defaults, and (name, message) for each fault.

    A text is read as the number, truth value or list that the parameter's schema wants: a command line has only texts.
    A reference to a step's output counts as right; its value is not known yet.
    """
    known = {one.name: one for one in recipe.parameters}
    listed = ", ".join(known) or "none"
    wrong = [
        (name[:64], f"recipe {recipe.recipe} has no parameter of this name; it has: {listed}")
        for name in given
        if name not in known
    ]
    values = {one.name: one.default for one in recipe.parameters if one.default is not None}
    for name, one in known.items():
        if given.get(name) is None:
            if one.is_required:
                wrong.append((name, f"recipe {recipe.recipe} needs it: {one.description or 'no default'}"))
            continue
        value = _meant(given[name], one.schema)
        values[name] = value
        if not is_reference(value):
            wrong += [(name, fault.message) for fault in schema_faults_of(one.schema, value)[:1]]
    return values, wrong


def _meant(value: Any, schema: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or not schema_faults_of(schema, value):
        return value
    try:
        return decode(value.encode("utf-8", "surrogatepass"))
    except ValueError:
        return [part.strip() for part in value.split(",")] if schema.get("type") == "array" else value


def read_recipes(sources: Sequence[Source]) -> Recipes:
    """Read recipes; a faulty file of an operator is left out with its reason, one of ours raises ValueError."""
    found: dict[str, Recipe] = {}
    left_out = []
    for source in sources:
        record: Any = None
        try:
            record = read_record(source)
            recipe = recipe_of(record, source.origin)
            if recipe.recipe in found:
                raise ValueError(f"recipe: there is a recipe {recipe.recipe} already: choose another name")
        except (OSError, ValueError, RecursionError) as fault:
            if source.is_built_in:
                raise ValueError(f"{source.path}: {fault}") from fault
            name = record.get("recipe") if isinstance(record, Mapping) else None
            left_out.append({"file": source.path.name, "recipe": str(name or ""), "reason": str(fault)})
            continue
        found[recipe.recipe] = recipe
    return Recipes(found, tuple(left_out))

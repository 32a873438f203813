"""Replaces a step that names a recipe, {"id": ..., "plan": recipe, "with": values}, by the recipe's own steps.

They get the ids `ID-...`. The last step has the id ID and holds the recipe's result, so that a reference to ID with the
pointer /values/... reads it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.models.plan import MAX_STEPS
from orchestrator.planner.recipe_reader import PROVIDED, Recipe
from orchestrator.planner.recipe_template import TemplateValues, fill, fill_steps
from orchestrator.planner.recipes import loaded, read_values
from orchestrator.planner.references import references_in, step_of
from orchestrator.planner.step_reader import STEP_ID, PlanFaults

MAX_DEPTH = 4
_PLAN = "plan"
_MEMBERS = frozenset({"id", _PLAN, "with", "depends_on", "description"})


def expand(items: Sequence[Any], faults: PlanFaults, *, goal: str = "") -> list[Any]:
    """Return the steps of a plan as they were sent, with each sub-plan replaced, at most MAX_STEPS and one more.

    `goal` is the task's, for recipes that use it. A sub-plan that can't be replaced is left out with a fault. Later
    faults name the places of the steps that were sent.
    """
    if not any(_is_subplan(item) for item in items):
        return list(items)
    expansion, steps = _Expansion(faults, goal), list[Any]()
    origins: list[tuple[int, str | None]] = []
    for index, item in enumerate(items):
        found = expansion.steps([item], place=f"steps.{index}")
        steps += found
        origins += [(index, str(step.get("id"))[:64] if _is_subplan(item) else None) for step in found]
    faults.origins = origins
    return steps


def _is_subplan(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get(_PLAN) is not None


class _Expansion:
    """The steps of one plan, counted, so that recipes in recipes can't grow without bounds."""

    def __init__(self, faults: PlanFaults, goal: str) -> None:
        self._faults = faults
        self._goal = goal
        self._room = MAX_STEPS + 1

    def steps(self, items: Sequence[Any], *, place: str, depth: int = 0) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if self._room <= 0:
                break
            if _is_subplan(item):
                found += self._expanded(item, place, depth)
            else:
                self._room -= 1
                found.append(item)
        return found

    def _expanded(self, item: Mapping[str, Any], place: str, depth: int) -> list[Any]:
        recipe = self._recipe(item, place, depth)
        if recipe is None:
            return []
        filling = self._filling(recipe, item.get("with") or {}, place)
        if filling is None:
            return []
        prefix = f"{item['id']}-"
        try:
            inner = fill_steps([_step_prefixed(step, prefix) for step in recipe.steps], filling)
            result = fill(_prefixed(recipe.result, prefix), filling)
        except ValueError as fault:
            self._faults.add(f"{place}.with", f"recipe {recipe.recipe}: {fault}")
            return []
        after = [name for name in _listed(item.get("depends_on")) if isinstance(name, str)]
        own = {str(step["id"]) for step in inner}
        begun = [step if _needed(step) & own else _after(step, after) for step in inner]
        leaves = sorted(own - {name for step in inner for name in _needed(step)})
        collected = {
            "id": item["id"],
            "description": item.get("description") or f"The result of the recipe {recipe.recipe}",
            "arm": "retriever",
            "action": "collect",
            "inputs": {"values": {name: {"$from": name} for name in leaves} if result is None else result},
            "depends_on": [*leaves, *after],
            "acceptance_criteria": [
                {
                    "text": f"The recipe {recipe.recipe} gave a result",
                    "check": {"pointer": "/values", "exists": True},
                }
            ],
        }
        return [*self.steps(begun, place=place, depth=depth + 1), *self.steps([collected], place=place)]

    def _recipe(self, item: Mapping[str, Any], place: str, depth: int) -> Recipe | None:
        """Return the recipe that a step names, or None after adding what is wrong with the step."""
        found = self._faults.count
        for name in sorted(set(map(str, item)) - _MEMBERS):
            self._faults.add(
                place, f"a step with a plan has no member {name[:64]!r}: {', '.join(sorted(_MEMBERS))}"
            )
        if not isinstance(item.get("id"), str) or not STEP_ID.fullmatch(item["id"]):
            self._faults.add(
                f"{place}.id", "must be 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter"
            )
        if depth == MAX_DEPTH:
            self._faults.add(f"{place}.plan", f"recipes may contain others at most {MAX_DEPTH} deep")
        recipe = loaded().by_name.get(item[_PLAN]) if isinstance(item[_PLAN], str) else None
        if recipe is None:
            known = ", ".join(loaded().by_name)
            self._faults.add(f"{place}.plan", f"there is no recipe {str(item[_PLAN])[:64]!r}; known: {known}")
        elif recipe.needs == "script":
            self._faults.add(
                f"{place}.plan", f"recipe {recipe.recipe} can't be a part of a plan: it needs all files"
            )
        if not isinstance(item.get("with") or {}, Mapping):
            self._faults.add(f"{place}.with", "must be an object of the recipe's parameters and their values")
        return recipe if self._faults.count == found else None

    def _filling(self, recipe: Recipe, given: Mapping[str, Any], place: str) -> TemplateValues | None:
        """Return the values for the recipe's templates; a file that is not given is the task's only one."""
        provided = PROVIDED.get(recipe.needs, ())
        files = {name: given[name] for name in provided if given.get(name) is not None}
        values, wrong = read_values(
            recipe, {name: value for name, value in given.items() if name not in provided}
        )
        for name, message in wrong:
            self._faults.add(f"{place}.with.{name}", message)
        if wrong:
            return None
        known = {"goal": self._goal, **files, **values}
        absent = {*provided, *(one.name for one in recipe.parameters)} - known.keys()
        return TemplateValues(known, absent=frozenset(absent))


def _prefixed(value: Any, prefix: str, *, is_rule: bool = False) -> Any:
    """Return a part of a recipe with `prefix` before the id of each step that a reference or a rule names."""
    if isinstance(value, list):
        return [_prefixed(item, prefix, is_rule=is_rule) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: f"{prefix}{member}"
        if isinstance(member, str) and (name == "$from" or (is_rule and name == "step"))
        else _member(name, member, prefix, is_rule=is_rule)
        for name, member in value.items()
    }


def _member(name: str, member: Any, prefix: str, *, is_rule: bool) -> Any:
    if name == "$file" and isinstance(member, Mapping) and isinstance(member.get("from"), str):
        return {**member, "from": f"{prefix}{member['from']}"}
    return _prefixed(member, prefix, is_rule=is_rule or name in ("acceptance_criteria", "when"))


def _step_prefixed(step: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return a step of a recipe with `prefix` before its own id and before those that it names."""
    before = [f"{prefix}{name}" for name in _listed(step.get("depends_on"))]
    return {
        **_prefixed(step, prefix),
        **({"id": f"{prefix}{step['id']}"} if isinstance(step.get("id"), str) else {}),
        **({"depends_on": before} if isinstance(step.get("depends_on"), list) else {}),
    }


def _needed(step: Mapping[str, Any]) -> set[str]:
    """Return the ids of the steps that a step waits for."""
    named = [step_of(reference) for _, reference in references_in(dict(step))]
    return {name for name in [*_listed(step.get("depends_on")), *named] if isinstance(name, str)}


def _after(step: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    return {**step, "depends_on": [*_listed(step.get("depends_on")), *names]} if names else step


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []

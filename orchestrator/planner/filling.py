"""Fills a recipe's steps with what a task brings: values for names in braces, and one step for each of several things.

In a template `{name}` stands for a value. A step with `for_each` is made once for each thing of that group. An object
{"$for_each": group, "key": template, "value": template} becomes an object of all of them; without a key, as a member
of a list, it becomes as many members.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FOR_EACH = "for_each"
_EACH = f"${FOR_EACH}"
_NAME = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Filling:
    """What a task brings: values by name, and groups of things, each with values of its own."""

    values: Mapping[str, str | int] = field(default_factory=dict)
    groups: Mapping[str, Sequence[Mapping[str, str | int]]] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return the filling as JSON values, for the plan's provenance."""
        return {
            **self.values,
            **{name: [dict(thing) for thing in group] for name, group in self.groups.items()},
        }


def filled_steps(templates: Sequence[Mapping[str, Any]], filling: Filling) -> list[dict[str, Any]]:
    """Return the steps that the templates make; an unknown name in braces stays as it is."""
    return [step for template in templates for step in _steps(template, filling)]


def _steps(template: Mapping[str, Any], filling: Filling) -> Iterator[dict[str, Any]]:
    plain = {name: value for name, value in template.items() if name != FOR_EACH}
    if FOR_EACH not in template:
        yield _filled(plain, filling)
        return
    for thing in filling.groups[template[FOR_EACH]]:
        yield _filled(plain, _with(filling, thing))


def _filled(template: Any, filling: Filling) -> Any:
    if isinstance(template, str):
        return _text(template, filling.values)
    if isinstance(template, list):
        return [member for item in template for member in _members(item, filling)]
    if not isinstance(template, Mapping):
        return template
    if _EACH in template:
        return {
            str(_filled(template["key"], own)): _filled(template["value"], own)
            for own in _each(template, filling)
        }
    return {name: _filled(value, filling) for name, value in template.items()}


def _text(template: str, values: Mapping[str, str | int]) -> str | int:
    whole = _NAME.fullmatch(template)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _NAME.sub(lambda name: str(values.get(name[1], name[0])), template)


def _members(item: Any, filling: Filling) -> Iterator[Any]:
    if isinstance(item, Mapping) and _EACH in item:
        yield from (_filled(item["value"], own) for own in _each(item, filling))
    else:
        yield _filled(item, filling)


def _each(template: Mapping[str, Any], filling: Filling) -> Iterator[Filling]:
    return (_with(filling, thing) for thing in filling.groups[template[_EACH]])


def _with(filling: Filling, thing: Mapping[str, str | int]) -> Filling:
    return Filling({**filling.values, **thing}, filling.groups)

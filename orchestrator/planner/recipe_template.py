"""Fills the steps of a recipe with a task's values.

In a template `{name}` stands for a value. A step with `for_each` is repeated for each member of that group. An object
{"$for_each": group, "key": template, "value": template} becomes an object with one entry for each member; without a
key, inside a list, it becomes one item for each member.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FOR_EACH = "for_each"
_EACH = f"${FOR_EACH}"
_NAME = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class TemplateValues:
    """A task's values by name, and its groups: a list of members, each with values of its own."""

    values: Mapping[str, str | int] = field(default_factory=dict)
    groups: Mapping[str, Sequence[Mapping[str, str | int]]] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return the values as JSON, for the plan's provenance."""
        return {
            **self.values,
            **{name: [dict(member) for member in group] for name, group in self.groups.items()},
        }


def fill_steps(templates: Sequence[Mapping[str, Any]], values: TemplateValues) -> list[dict[str, Any]]:
    """Return the steps of the templates; an unknown name in braces is left as it is."""
    return [step for template in templates for step in _steps(template, values)]


def _steps(template: Mapping[str, Any], values: TemplateValues) -> Iterator[dict[str, Any]]:
    plain = {name: value for name, value in template.items() if name != FOR_EACH}
    if FOR_EACH not in template:
        yield fill(plain, values)
        return
    for member in values.groups[template[FOR_EACH]]:
        yield fill(plain, _with(values, member))


def fill(template: Any, values: TemplateValues) -> Any:
    """Return a template of any JSON value with the task's values filled in."""
    if isinstance(template, str):
        return _text(template, values.values)
    if isinstance(template, list):
        return [filled for item in template for filled in _items(item, values)]
    if not isinstance(template, Mapping):
        return template
    if _EACH in template:
        return {
            str(fill(template["key"], own)): fill(template["value"], own) for own in _each(template, values)
        }
    return {name: fill(value, values) for name, value in template.items()}


def _text(template: str, values: Mapping[str, str | int]) -> str | int:
    whole = _NAME.fullmatch(template)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _NAME.sub(lambda name: str(values.get(name[1], name[0])), template)


def _items(item: Any, values: TemplateValues) -> Iterator[Any]:
    if isinstance(item, Mapping) and _EACH in item:
        yield from (fill(item["value"], own) for own in _each(item, values))
    else:
        yield fill(item, values)


def _each(template: Mapping[str, Any], values: TemplateValues) -> Iterator[TemplateValues]:
    return (_with(values, member) for member in values.groups[template[_EACH]])


def _with(values: TemplateValues, member: Mapping[str, str | int]) -> TemplateValues:
    return TemplateValues({**values.values, **member}, values.groups)

"""Fills the steps of a recipe with a task's values.

In a template `{name}` stands for a value; a text that is nothing else becomes the value itself, of any JSON type. A
member whose text is the name of a value that was not given is left out. A step whose `for_each` is a plain text is
repeated for each member of that group; `{name}` there is a list, as in a plan. An object
{"$for_each": group, "key": template, "value": template} becomes an object with one entry for each member; without a
key, inside a list, it becomes one item for each member.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FOR_EACH = "for_each"
_EACH = f"${FOR_EACH}"
_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")


@dataclass(frozen=True)
class TemplateValues:
    """A task's values by name, and its groups: a list of members, each with values of its own.

    `absent` are the names of values that may be left out and were.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[Mapping[str, str | int]]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    def to_record(self) -> dict[str, Any]:
        """Return the values as JSON, for the plan's provenance."""
        return {
            **self.values,
            **{name: [dict(member) for member in group] for name, group in self.groups.items()},
        }


def fill_steps(templates: Sequence[Mapping[str, Any]], values: TemplateValues) -> list[dict[str, Any]]:
    """Return the steps of the templates; an unknown name in braces is left as it is. Raises ValueError as `fill`."""
    return [step for template in templates for step in _steps(template, values)]


def names_in(template: Any) -> set[str]:
    """Return the names of values and groups that a template of any JSON value uses."""
    if isinstance(template, str):
        return set(_NAME.findall(template))
    if isinstance(template, list):
        return {name for item in template for name in names_in(item)}
    if not isinstance(template, Mapping):
        return set()
    return _groups(template) | {name for item in [*template, *template.values()] for name in names_in(item)}


def groups_in(template: Any) -> set[str]:
    """Return the names of groups that a template of any JSON value repeats itself for."""
    if isinstance(template, list):
        return {name for item in template for name in groups_in(item)}
    if not isinstance(template, Mapping):
        return set()
    return _groups(template) | {name for item in template.values() for name in groups_in(item)}


def _groups(template: Mapping[str, Any]) -> set[str]:
    named = {template[word] for word in (FOR_EACH, _EACH) if isinstance(template.get(word), str)}
    return {name for name in named if not _NAME.fullmatch(name)}


def _steps(template: Mapping[str, Any], values: TemplateValues) -> Iterator[dict[str, Any]]:
    group = template.get(FOR_EACH)
    if not isinstance(group, str) or _NAME.fullmatch(group):
        yield fill(template, values)
        return
    plain = {name: value for name, value in template.items() if name != FOR_EACH}
    for member in values.groups[group]:
        yield fill(plain, _with(values, member))


def fill(template: Any, values: TemplateValues) -> Any:
    """Return a template of any JSON value with the task's values filled in.

    Raises ValueError for an object as a part of a text.
    """
    if isinstance(template, str):
        return _text(template, values)
    if isinstance(template, list):
        return [
            filled for item in template if not _is_absent(item, values) for filled in _items(item, values)
        ]
    if not isinstance(template, Mapping):
        return template
    if _EACH in template:
        return {
            str(fill(template["key"], own)): fill(template["value"], own) for own in _each(template, values)
        }
    return {name: fill(value, values) for name, value in template.items() if not _is_absent(value, values)}


def _is_absent(template: Any, values: TemplateValues) -> bool:
    whole = _NAME.fullmatch(template) if isinstance(template, str) else None
    return whole is not None and whole[1] in values.absent


def _text(template: str, values: TemplateValues) -> Any:
    whole = _NAME.fullmatch(template)
    if whole and whole[1] in values.values:
        return values.values[whole[1]]
    return _NAME.sub(lambda name: _part(name, values), template)


def _part(name: re.Match[str], values: TemplateValues) -> str:
    """Return a value as a part of a text."""
    if name[1] in values.absent:
        return ""
    value = values.values.get(name[1], name[0])
    if isinstance(value, Mapping):
        raise ValueError(
            f"{name[1]} is a part of a text here: it must be a text, a number or a list, not an object"
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _items(item: Any, values: TemplateValues) -> Iterator[Any]:
    if isinstance(item, Mapping) and _EACH in item:
        yield from (fill(item["value"], own) for own in _each(item, values))
    else:
        yield fill(item, values)


def _each(template: Mapping[str, Any], values: TemplateValues) -> Iterator[TemplateValues]:
    return (_with(values, member) for member in values.groups[template[_EACH]])


def _with(values: TemplateValues, member: Mapping[str, str | int]) -> TemplateValues:
    return TemplateValues({**values.values, **member}, values.groups, values.absent)

"""Binds a plan to other values than those it was made for, where it is clear what stands for what: pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from orchestrator.planner.references import FROM, POINTER, is_reference

_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
# a step's own names, which nobody reads for what they say
_NAMES = frozenset({"id", "arm", "action", "capabilities", "depends_on"})
# members that say a value in a way of their own
_OPAQUE = frozenset({POINTER, "matches", "schema", "output_schema", "step", "timeout_seconds"})


def rebind(
    steps: Sequence[Mapping[str, Any]], old: Sequence[str], new: Sequence[str]
) -> list[dict[str, Any]] | None:
    """Return a plan's steps with each of the goal's `old` values replaced by the `new` one of its place.

    None where that is not clear: every value has to stand in the plan, to the letter and as a word or a number of its
    own; one of a single character only once, since such a one may stand there by chance; none inside another.
    """
    binding = _Binding(old, new)
    if any(not value.strip() for value in (*old, *new)) or binding.is_nested:
        return None
    try:
        bound = [binding.step(step) for step in steps]
    except _Unclear:
        return None
    return bound if binding.is_complete else None


class _Unclear(Exception):
    """A value may stand here, or may not."""


class _Binding:
    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        self._new = dict(zip(old, new, strict=True))
        self._numbers = {Decimal(value): value for value in old if _NUMBER.fullmatch(value)}
        self._found: Counter[str] = Counter()
        longest_first = "|".join(re.escape(value) for value in sorted(old, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w./-])(?:{longest_first or '(?!)'})(?![\w/-]|\.\w)")

    @property
    def is_nested(self) -> bool:
        """Tell whether a value holds another one."""
        values = [value.lower() for value in self._new]
        return any(
            one in other for place, one in enumerate(values) for at, other in enumerate(values) if place != at
        )

    @property
    def is_complete(self) -> bool:
        """Tell whether every value was found, one of a single character once."""
        return all(self._found[value] == 1 or (self._found[value] and len(value) > 1) for value in self._new)

    def step(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a step's record for the new values."""
        return {
            name: value if name in _NAMES else self._member(name, value) for name, value in record.items()
        }

    def _member(self, name: str, value: Any) -> Any:
        if name in _OPAQUE:
            self._refuse_in(value)
            return value
        return self._value(value)

    def _value(self, value: Any) -> Any:
        if is_reference(value):
            self._refuse_in(value.get(POINTER, ""))
            return value
        if isinstance(value, Mapping):
            self._refuse_in([name for name in value if name != FROM])
            return {name: self._member(name, item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value)
        return value

    def _text(self, text: str) -> str:
        found = Counter(self._pattern.findall(text))
        lower = text.lower()
        if any(lower.count(value.lower()) != found[value] for value in self._new):
            raise _Unclear
        self._found += found
        return self._pattern.sub(lambda match: self._new[match[0]], text)

    def _number(self, number: float) -> float:
        value = self._numbers.get(Decimal(str(number)))
        if value is None:
            return number
        new = self._new[value]
        if not _NUMBER.fullmatch(new):
            raise _Unclear
        self._found[value] += 1
        return float(new) if "." in new else int(new)

    def _refuse_in(self, value: Any) -> None:
        """Raise _Unclear where any value stands in something that can't be bound."""
        if isinstance(value, Mapping):
            value = [*value.keys(), *value.values()]
        if isinstance(value, list | tuple):
            for item in value:
                self._refuse_in(item)
        elif value is not None and any(old.lower() in str(value).lower() for old in self._new):
            raise _Unclear

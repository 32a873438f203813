"""A value that was extracted, with the quotes that prove its parts; values of several texts are joined."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d[\d.,']{0,30}")
_SPACED_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3}){1,6}")
_DEEPEST = 30


@dataclass(frozen=True)
class Quoted:
    """A quote that stands at a line of a file, and the JSON pointer of the value that it is said to prove."""

    pointer: str
    file: str
    line: int
    quote: str


@dataclass
class _Node:
    """A part of a value: an object's members, a list's items, or a scalar with the first quote that proves it."""

    scalar: Any = None
    quote: Quoted | None = None
    members: dict[str, "_Node"] | None = None
    items: list["_Node"] | None = None

    def value(self) -> Any:
        if self.members is not None:
            return {name: node.value() for name, node in self.members.items()}
        if self.items is not None:
            return [node.value() for node in self.items]
        return self.scalar

    def leaves(self, pointer: str = "") -> Iterator[tuple[str, "_Node"]]:
        if self.members is not None:
            for name, node in self.members.items():
                yield from node.leaves(f"{pointer}/{_token(name)}")
        elif self.items is not None:
            for number, node in enumerate(self.items):
                yield from node.leaves(f"{pointer}/{number}")
        else:
            yield pointer, self


@dataclass
class Extract:
    """An extracted value; `conflicts` {pointer, kept, other} tell where its sources differ."""

    root: _Node
    conflicts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, value: Any, quotes: Sequence[Quoted]) -> "Extract":
        """Return a value with its quotes; members and items that are null are left out.

        A quote proves a scalar at its pointer or below the object there if the two share a word or a number; other
        scalars (true and false) are proved by a quote at their own pointer.
        """
        known: dict[str, list[Quoted]] = {}
        for quote in quotes:
            known.setdefault(quote.pointer, []).append(quote)
        return cls(_node(value, "", {at: _Proofs(given) for at, given in known.items()}, _Proofs(())))

    def value(self) -> Any:
        """Return the value as JSON."""
        return self.root.value()

    def filled(self, schema: Mapping[str, Any]) -> Any:
        """Return the value with null for members that the schema requires and that may be null."""
        return _filled(self.value(), schema)

    def quotes(self) -> list[dict[str, Any]]:
        """Return for each proved scalar {pointer, file, line, quote}."""
        return [
            {"pointer": pointer, "file": proof.file, "line": proof.line, "quote": proof.quote}
            for pointer, leaf in self.root.leaves()
            if (proof := leaf.quote) is not None
        ]

    def unproved(self) -> list[str]:
        """Return the pointers of the scalars that no quote proves."""
        return [
            pointer for pointer, leaf in self.root.leaves() if leaf.quote is None and leaf.scalar is not None
        ]

    def as_passages(self) -> list[dict[str, Any]]:
        """Return the quotes as passages {file, line, quote, note}; the note is the pointer."""
        return [
            {"file": item["file"], "line": item["line"], "quote": item["quote"], "note": item["pointer"]}
            for item in self.quotes()
        ]


def joined(extracts: Sequence[Extract]) -> Extract:
    """Join the values of the parts of a text, in their order.

    Lists are appended, without items that are equal; of scalars that differ the first proved one is kept, or else the
    first one. Raises IndexError without any.
    """
    first, *others = extracts
    conflicts = [conflict for extract in extracts for conflict in extract.conflicts]
    root = first.root
    for other in others:
        root = _merged(root, other.root, "", conflicts)
    return Extract(root, conflicts)


def proves(quote: str, value: Any) -> bool:
    """Tell whether a quote shows a text or a number: whether they share a word, or the digits."""
    return _Proofs([Quoted("", "", 1, quote)]).of(value) is not None


class _Proofs:
    """The quotes at one pointer, by their words and numbers: a model may give many quotes, and many values."""

    def __init__(self, quotes: Sequence[Quoted]) -> None:
        self.first = quotes[0] if quotes else None
        self._words: dict[str, tuple[int, Quoted]] = {}
        self._numbers: dict[str, Quoted] = {}
        for place, quote in enumerate(quotes):
            for word in _WORD.findall(quote.quote):
                self._words.setdefault(word.casefold(), (place, quote))
            for number in (*_NUMBER.findall(quote.quote), *_SPACED_NUMBER.findall(quote.quote)):
                self._numbers.setdefault(_digits(number), quote)

    def of(self, value: Any) -> Quoted | None:
        """Return the first quote that shows a text or a number."""
        if isinstance(value, bool):
            return None
        if isinstance(value, (int, float)):
            return self._numbers.get(_digits(f"{value:f}" if isinstance(value, float) else str(value)))
        words = {word.casefold() for word in _WORD.findall(str(value))}
        found = [self._words[word] for word in words if word in self._words]
        return min(found, key=lambda one: one[0])[1] if found else None


def _digits(number: str) -> str:
    """Return the digits of a number without the zeros after its point: 4,50 and 4.5 have the same."""
    whole, point, rest = number.strip(" .,'").rpartition("." if "." in number.strip(" .,'") else ",")
    text = f"{whole}{point}{rest}"
    if point and len(rest) != 3:
        text = text.rstrip("0").rstrip(".,")
    return re.sub(r"\D", "", text)


def _node(value: Any, pointer: str, known: Mapping[str, _Proofs], above: _Proofs) -> _Node:
    own = known.get(pointer) or _Proofs(())
    depth = pointer.count("/")
    if isinstance(value, dict) and depth < _DEEPEST:
        return _Node(
            members={
                name: _node(item, f"{pointer}/{_token(name)}", known, own)
                for name, item in value.items()
                if item is not None
            }
        )
    if isinstance(value, list) and depth < _DEEPEST:
        given = [(number, item) for number, item in enumerate(value) if item is not None]
        return _Node(items=[_node(item, f"{pointer}/{number}", known, own) for number, item in given])
    if isinstance(value, bool):
        return _Node(value, own.first)
    return _Node(value, own.of(value) or above.of(value))


def _merged(one: _Node, other: _Node, pointer: str, conflicts: list[dict[str, Any]]) -> _Node:
    if one.members is not None and other.members is not None:
        members = dict(one.members)
        for name, node in other.members.items():
            at = f"{pointer}/{_token(name)}"
            members[name] = _merged(members[name], node, at, conflicts) if name in members else node
        return _Node(members=members)
    if one.items is not None and other.items is not None:
        return _Node(items=_appended(one.items, other.items))
    left, right = one.value(), other.value()
    if right is None or left is None:
        return one if right is None else other
    is_better = _is_proved(other) and not _is_proved(one)
    if _key(left) == _key(right):
        return other if is_better else one
    kept, dropped = (right, left) if is_better else (left, right)
    conflicts.append({"pointer": pointer, "kept": kept, "other": dropped})
    return other if is_better else one


def _appended(items: Sequence[_Node], more: Sequence[_Node]) -> list[_Node]:
    """Append the items that are not there yet; an equal one that is proved replaces one that is not."""
    known = {_key(node.value()): node for node in items}
    for node in more:
        key = _key(node.value())
        if key not in known or (_is_proved(node) and not _is_proved(known[key])):
            known[key] = node
    return list(known.values())


def _is_proved(node: _Node) -> bool:
    return any(leaf.quote is not None for _, leaf in node.leaves())


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _filled(value: Any, schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return [_filled(item, schema.get("items")) for item in value]
    members = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(members, Mapping):
        return value
    filled = {name: _filled(item, members.get(name)) for name, item in value.items()}
    for name in schema.get("required", ()):
        if name not in filled and _may_be_null(members.get(name)):
            filled[name] = None
    return filled


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type", ())
    return (
        "null" in ([kinds] if isinstance(kinds, str) else kinds)
        or None in schema.get("enum", ())
        or any(_may_be_null(choice) for choice in schema.get("anyOf", ()))
    )

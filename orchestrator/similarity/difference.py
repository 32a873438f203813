"""Finds differences that make two similar goals two tasks, before a judge is asked."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.similarity.canonical import canonical_tokens, has_content
from orchestrator.similarity.tokens import Kind, Token

_LISTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("contrasts.toml").read_text("utf-8"))
_NEGATIONS = frozenset(_LISTS["negations"].split())
_LIMITS = frozenset(_LISTS["limits"].split())
_MORE = frozenset(_LISTS["more"].split())
_LESS = frozenset(_LISTS["less"].split())
_PREFIXES = tuple(_LISTS["prefixes"].split())
_ENDINGS = tuple(_LISTS["endings"].split())
_LOOSE = frozenset(_LISTS["loose"].split())
_MIN_STEM = 3


class Difference(StrEnum):
    """Why two goals are different tasks."""

    NUMBER = "number"
    QUOTE = "quote"
    IDENTIFIER = "identifier"
    SYMBOL = "symbol"
    NEGATION = "negation"
    OPPOSITE = "opposite"
    COMPARATOR = "comparator"
    LIMIT = "limit"
    TENSE = "tense"
    PERSON = "person"
    QUESTION = "question"
    GROUP = "group"
    NAME = "name"
    ORDER = "order"
    TOO_SHORT = "too_short"


class _ContrastSets:
    """Sets of mutually exclusive sides, such as on : off, looked up by word."""

    def __init__(self, sets: Iterable[Sequence[Set[str]]]) -> None:
        self._sides: dict[str, set[tuple[int, int]]] = {}
        for set_index, sides in enumerate(sets):
            for side, members in enumerate(sides):
                for word in members:
                    self._sides.setdefault(word, set()).add((set_index, side))

    def separate(self, one: Set[str], other: Set[str]) -> bool:
        """Return whether a word of `one` and a word of `other` are on different sides of one set."""
        here, there = self._sides_of(one), self._sides_of(other)
        return any(len(sides | there[index]) > 1 for index, sides in here.items() if index in there)

    def _sides_of(self, words: Set[str]) -> Mapping[int, set[int]]:
        found: dict[int, set[int]] = {}
        for word in words:
            for set_index, side in self._sides.get(word, ()):
                found.setdefault(set_index, set()).add(side)
        return found


def _contrast_sets(name: str) -> _ContrastSets:
    return _ContrastSets([frozenset(side.split()) for side in listed.split(":")] for listed in _LISTS[name])


_CONTRASTS = {
    Difference.OPPOSITE: _contrast_sets("opposites"),
    Difference.TENSE: _contrast_sets("tenses"),
    Difference.PERSON: _contrast_sets("persons"),
    Difference.QUESTION: _contrast_sets("questions"),
    Difference.GROUP: _ContrastSets(
        [frozenset((word,)) for word in group.split()] for group in _LISTS["groups"]
    ),
}
_VERBATIM = (
    (Difference.NUMBER, (Kind.NUMBER,)),
    (Difference.QUOTE, (Kind.QUOTE, Kind.CODE)),
    (Difference.IDENTIFIER, (Kind.ID,)),
    (Difference.SYMBOL, (Kind.SYMBOL,)),
)


def known_difference(one: str, other: str) -> Difference | None:
    """Return a difference that makes two goals different tasks; None if a judge has to decide.

    None means "not known to differ", never "equal": in doubt a difference is returned. Symmetric; linear time. Made
    for the candidates of the semantic cache, whose words are similar.
    """
    here, there = canonical_tokens(one), canonical_tokens(other)
    for difference, kinds in _VERBATIM:
        if _bag(here, kinds) != _bag(there, kinds):
            return difference
    if not (has_content(here) and has_content(there)):
        return None if one.strip() == other.strip() else Difference.TOO_SHORT
    words, others = _bag(here, (Kind.WORD,)), _bag(there, (Kind.WORD,))
    return _word_difference(words, others) or _name_difference(here, there) or _order_difference(here, there)


def _bag(tokens: Sequence[Token], kinds: Sequence[Kind]) -> Counter[str]:
    return Counter(token.text for token in tokens if token.kind in kinds)


def _word_difference(words: Counter[str], others: Counter[str]) -> Difference | None:
    here, there = frozenset(words - others), frozenset(others - words)
    if _count(words, _NEGATIONS) != _count(others, _NEGATIONS):
        return Difference.NEGATION
    for difference, contrast in _CONTRASTS.items():
        if contrast.separate(here, there):
            return difference
    if _differ_by_prefix(here, there):
        return Difference.OPPOSITE
    if _forms(here) & _forms(there):
        return Difference.TENSE
    if any(_count(words, side) != _count(others, side) for side in (_MORE, _LESS)):
        return Difference.COMPARATOR
    return Difference.LIMIT if (here | there) & _LIMITS else None


def _count(words: Counter[str], of: Set[str]) -> int:
    return sum(words[word] for word in words.keys() & of)


def _differ_by_prefix(here: Set[str], there: Set[str]) -> bool:
    return any(
        word.startswith(prefix) and len(word) - len(prefix) >= _MIN_STEM and word[len(prefix) :] in stems
        for words, stems in ((here, there), (there, here))
        for word in words
        for prefix in _PREFIXES
    )


def _forms(words: Set[str]) -> Set[str]:
    """Return the words and the stems that they may be forms of."""
    stems = {word.removesuffix(ending) for word in words for ending in _ENDINGS}
    silent = {word.removesuffix("ing") + "e" for word in words if word.endswith("ing")}
    return {stem for stem in words | stems | silent if len(stem) >= _MIN_STEM}


def _name_difference(here: Sequence[Token], there: Sequence[Token]) -> Difference | None:
    texts = [{token.text for token in tokens} for tokens in (here, there)]
    is_missing = not _names(here) <= texts[1] or not _names(there) <= texts[0]
    return Difference.NAME if is_missing else None


def _names(tokens: Sequence[Token]) -> Set[str]:
    words = [token for token in tokens if token.kind is Kind.WORD]
    names = {token.text for token in words if "A" <= token.surface[:1] <= "Z" and not token.after_break}
    return names if 2 * len(names) < len(words) else frozenset()


def _order_difference(here: Sequence[Token], there: Sequence[Token]) -> Difference | None:
    shared = _content(here) & _content(there)
    return None if _sequence(here, shared) == _sequence(there, shared) else Difference.ORDER


def _content(tokens: Sequence[Token]) -> Counter[tuple[Kind, str]]:
    return Counter((token.kind, token.text) for token in tokens if token.text not in _LOOSE)


def _sequence(tokens: Sequence[Token], shared: Counter[tuple[Kind, str]]) -> Sequence[tuple[Kind, str]]:
    """Return the shared tokens in the order of `tokens`, each as often as both goals have it."""
    left = shared.copy()
    sequence = []
    for token in tokens:
        index = (token.kind, token.text)
        if left[index] > 0:
            left[index] -= 1
            sequence.append(index)
    return sequence

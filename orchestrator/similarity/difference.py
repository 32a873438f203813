"""The guard before the judge: names what makes two goals two tasks, however alike they look."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.similarity.key import canonical_tokens, has_content
from orchestrator.similarity.token import Kind, Token

_LISTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("rivals.toml").read_text("utf-8"))
_NEGATIONS = frozenset(_LISTS["negations"].split())
_LIMITS = frozenset(_LISTS["limits"].split())
_MORE = frozenset(_LISTS["more"].split())
_LESS = frozenset(_LISTS["less"].split())
_PREFIXES = tuple(_LISTS["prefixes"].split())
_ENDINGS = tuple(_LISTS["endings"].split())
_LOOSE = frozenset(_LISTS["loose"].split())
_SHORTEST_STEM = 3


class Difference(StrEnum):
    """Why two goals are not one task."""

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


class _Rivalry:
    """Sides that exclude one another, looked up by word."""

    def __init__(self, contests: Iterable[Sequence[Set[str]]]) -> None:
        self._sides: dict[str, set[tuple[int, int]]] = {}
        for contest, sides in enumerate(contests):
            for side, members in enumerate(sides):
                for word in members:
                    self._sides.setdefault(word, set()).add((contest, side))

    def parts(self, one: Set[str], other: Set[str]) -> bool:
        """Tell whether a word here and a word there stand on two sides of a contest."""
        here, there = self._stands(one), self._stands(other)
        return any(len(sides | there[contest]) > 1 for contest, sides in here.items() if contest in there)

    def _stands(self, words: Set[str]) -> Mapping[int, set[int]]:
        stands: dict[int, set[int]] = {}
        for word in words:
            for contest, side in self._sides.get(word, ()):
                stands.setdefault(contest, set()).add(side)
        return stands


def _opposed(name: str) -> _Rivalry:
    return _Rivalry([frozenset(side.split()) for side in contest.split(":")] for contest in _LISTS[name])


_RIVALRIES = {
    Difference.OPPOSITE: _opposed("opposites"),
    Difference.TENSE: _opposed("tenses"),
    Difference.PERSON: _opposed("persons"),
    Difference.QUESTION: _opposed("questions"),
    Difference.GROUP: _Rivalry([frozenset((word,)) for word in group.split()] for group in _LISTS["groups"]),
}
_TO_THE_LETTER = (
    (Difference.NUMBER, (Kind.NUMBER,)),
    (Difference.QUOTE, (Kind.QUOTE, Kind.CODE)),
    (Difference.IDENTIFIER, (Kind.ID,)),
    (Difference.SYMBOL, (Kind.SYMBOL,)),
)


def known_difference(one: str, other: str) -> Difference | None:
    """Name a difference that makes `one` and `other` two tasks; None if a judge has to say.

    Refuses in doubt and approves nothing: None means "not known to differ". Symmetric, and in linear time. Made for the
    cache's candidates, which are near in words.
    """
    here, there = canonical_tokens(one), canonical_tokens(other)
    for difference, kinds in _TO_THE_LETTER:
        if _bag(here, kinds) != _bag(there, kinds):
            return difference
    if not (has_content(here) and has_content(there)):
        return None if one.strip() == other.strip() else Difference.TOO_SHORT
    words, others = _bag(here, (Kind.WORD,)), _bag(there, (Kind.WORD,))
    return _worded(words, others) or _named(here, there) or _ordered(here, there)


def _bag(tokens: Sequence[Token], kinds: Sequence[Kind]) -> Counter[str]:
    return Counter(token.text for token in tokens if token.kind in kinds)


def _worded(words: Counter[str], others: Counter[str]) -> Difference | None:
    here, there = frozenset(words - others), frozenset(others - words)
    if _count(words, _NEGATIONS) != _count(others, _NEGATIONS):
        return Difference.NEGATION
    for difference, rivalry in _RIVALRIES.items():
        if rivalry.parts(here, there):
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
        word.startswith(prefix) and len(word) - len(prefix) >= _SHORTEST_STEM and word[len(prefix) :] in stems
        for words, stems in ((here, there), (there, here))
        for word in words
        for prefix in _PREFIXES
    )


def _forms(words: Set[str]) -> Set[str]:
    """Return the words and what they may be forms of."""
    stems = {word.removesuffix(ending) for word in words for ending in _ENDINGS}
    silent = {word.removesuffix("ing") + "e" for word in words if word.endswith("ing")}
    return {stem for stem in words | stems | silent if len(stem) >= _SHORTEST_STEM}


def _named(here: Sequence[Token], there: Sequence[Token]) -> Difference | None:
    said = [{token.text for token in tokens} for tokens in (here, there)]
    is_missed = not _names(here) <= said[1] or not _names(there) <= said[0]
    return Difference.NAME if is_missed else None


def _names(tokens: Sequence[Token]) -> Set[str]:
    words = [token for token in tokens if token.kind is Kind.WORD]
    names = {token.text for token in words if "A" <= token.written[:1] <= "Z" and not token.pause}
    return names if 2 * len(names) < len(words) else frozenset()


def _ordered(here: Sequence[Token], there: Sequence[Token]) -> Difference | None:
    shared = _content(here) & _content(there)
    return None if _sequence(here, shared) == _sequence(there, shared) else Difference.ORDER


def _content(tokens: Sequence[Token]) -> Counter[tuple[Kind, str]]:
    return Counter((token.kind, token.text) for token in tokens if token.text not in _LOOSE)


def _sequence(tokens: Sequence[Token], shared: Counter[tuple[Kind, str]]) -> Sequence[tuple[Kind, str]]:
    """Return the shared tokens as they stand here, each as often as both have it."""
    left = shared.copy()
    sequence = []
    for token in tokens:
        place = (token.kind, token.text)
        if left[place] > 0:
            left[place] -= 1
            sequence.append(place)
    return sequence

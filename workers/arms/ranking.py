"""Ranks passages by Okapi BM25; a quoted phrase must stand in a passage as it is, in any case."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

# the usual values: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009)
_K1, _B = 1.2, 0.75
_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Passage:
    """Consecutive lines of a file; `line` is the number of the first."""

    file: str
    line: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """Words to rank by, and phrases of which at least one must be there, all folded."""

    words: tuple[str, ...]
    phrases: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a query: phrases in double quotes, the rest words."""
        phrases = tuple(
            dict.fromkeys(" ".join(phrase.casefold().split()) for phrase in _QUOTED.findall(text))
        )
        return cls(tuple(dict.fromkeys(_words(text))), tuple(phrase for phrase in phrases if phrase))

    @property
    def terms(self) -> tuple[str, ...]:
        """Return what is looked for: the phrases, or else the words."""
        return self.phrases or self.words


@dataclass(frozen=True)
class Hit:
    """A passage that fits, with its score and the terms found in it."""

    passage: Passage
    score: float
    terms: tuple[str, ...]


def rank(query: Query, passages: Sequence[Passage]) -> list[Hit]:
    """Return the passages that hold a term of the query, best first; equals by file and line."""
    counts = [Counter(_words("\n".join(passage.lines))) for passage in passages]
    weights = _weights(query, counts)
    average = sum(map(Counter.total, counts)) / len(counts) if counts else 0.0
    hits = []
    for passage, words in zip(passages, counts, strict=True):
        terms = _terms_in(query, passage, words)
        if terms:
            hits.append(Hit(passage, _score(words, weights, average), terms))
    return sorted(hits, key=lambda hit: (-len(hit.terms), -hit.score, hit.passage.file, hit.passage.line))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _weights(query: Query, counts: Sequence[Counter[str]]) -> dict[str, float]:
    total = len(counts)
    holding = {word: sum(word in words for words in counts) for word in query.words}
    return {word: math.log(1 + (total - held + 0.5) / (held + 0.5)) for word, held in holding.items()}


def _terms_in(query: Query, passage: Passage, words: Counter[str]) -> tuple[str, ...]:
    if query.phrases:
        text = " ".join("\n".join(passage.lines).casefold().split())
        return tuple(phrase for phrase in query.phrases if phrase in text)
    return tuple(word for word in query.words if word in words)


def _score(words: Counter[str], weights: dict[str, float], average: float) -> float:
    length = _K1 * (1 - _B + _B * words.total() / average)
    return sum(
        weight * words[word] * (_K1 + 1) / (words[word] + length)
        for word, weight in weights.items()
        if word in words
    )

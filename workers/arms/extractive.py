"""Chooses the sentences that stand for a text without a model, by the frequency of its words.

The method is SumBasic: Nenkova and Vanderwende, "The Impact of Frequency on Summarization", 2005.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.similarity.lexicon import words as listed_words
from workers.arms.sources import SourceText

MAX_CHARACTERS = 600
"""Longer sentences, such as those of minified code, are not chosen."""
MOST_SENTENCES = 20
_MOST_TRIES = 40
_LEAST_WORDS = 3
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+){0,4}")
_STARTS_UNIT = re.compile(r"\s{0,20}(?:[-*+•]|\d{1,3}[.)])\s")
_IS_NO_PROSE = re.compile(r"\s{0,20}(?:#{1,6}\s|\||```|~~~|[-=*_]{3})")
_END = re.compile(r"[.!?…][\"'”’)\]]{0,2}(?=\s{1,20}[^a-z\s])|[。！？]")
_FUNCTION_WORDS = listed_words("article", "function") | listed_words("article", "articles")


@dataclass(frozen=True)
class Sentence:
    """A sentence as it stands at a line of a file; `words` are those that carry meaning, folded."""

    file: str
    line: int
    quote: str
    words: Sequence[str]
    length: int
    """The number of all its words."""

    @property
    def end_line(self) -> int:
        """Return the line on which it ends."""
        return self.line + self.quote.count("\n")


@dataclass
class _Weights:
    """The probability of each word, and which sentences that are not chosen yet have it."""

    sentences: Sequence[Sentence]
    weight: dict[str, float] = field(default_factory=dict)
    having: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        counts = Counter(word for sentence in self.sentences for word in sentence.words)
        total = counts.total()
        self.weight = {word: count / total for word, count in counts.items()}
        for number, sentence in enumerate(self.sentences):
            for word in sentence.words:
                self.having[word].add(number)

    def best(self) -> int:
        """Return the sentence of the greatest mean probability among those that have the most probable word."""
        word = max(self.having, key=lambda one: (self.weight[one], one))
        return max(self.having[word], key=lambda number: (self._mean(number), -number))

    def take(self, number: int, *, said: bool) -> None:
        """Remove a sentence; if its words are `said`, they count less from now on: their squares."""
        for word in set(self.sentences[number].words):
            self.having[word].discard(number)
            if not self.having[word]:
                del self.having[word]
            if said:
                self.weight[word] **= 2

    def _mean(self, number: int) -> float:
        found = self.sentences[number].words
        return sum(self.weight[word] for word in found) / len(found)


def sentences_of(source: SourceText) -> Iterator[Sentence]:
    """Yield the sentences of a text; headings, tables and rules are left out."""
    for first, text in _units(source.lines()):
        line = first
        marker = _STARTS_UNIT.match(text)
        begin = marker.end() if marker else 0
        for end in [*(match.end() for match in _END.finditer(text, begin)), len(text)]:
            piece = text[begin:end]
            lead = len(piece) - len(piece.lstrip())
            line += piece.count("\n", 0, lead)
            found = WORD.findall(piece) if len(piece) <= MAX_CHARACTERS else []
            if len(found) >= _LEAST_WORDS:
                yield Sentence(source.name, line, piece.strip(), words_of(found), len(found))
            line += piece.count("\n", lead)
            begin = end


def words_of(found: Sequence[str]) -> list[str]:
    """Return the words folded, without English function words; other languages keep theirs."""
    folded = [word.casefold() for word in found]
    return [word for word in folded if word not in _FUNCTION_WORDS and len(word) > 1] or folded


def count_words(text: str) -> int:
    """Return the number of words in a text."""
    return sum(1 for _ in WORD.finditer(text))


def with_words(sentences: Sequence[Sentence], wanted: Collection[str]) -> list[Sentence]:
    """Return the sentences that have at least one of the folded words."""
    return [sentence for sentence in sentences if not set(wanted).isdisjoint(sentence.words)]


def choose_sentences(sentences: Sequence[Sentence], *, most_words: int) -> list[Sentence]:
    """Return the sentences that stand for all, at most MOST_SENTENCES of `most_words` words in all, in their order.

    If even the shortest has more words, it is the only one.
    """
    short = [sentence for sentence in sentences if sentence.length <= most_words]
    if not short:
        return [min(sentences, key=lambda sentence: sentence.length)] if sentences else []
    weights, chosen = _Weights(short), list[int]()
    least = min(sentence.length for sentence in short)
    for _ in range(_MOST_TRIES):
        if not weights.having or len(chosen) == MOST_SENTENCES or most_words < least:
            break
        number = weights.best()
        has_room = short[number].length <= most_words
        weights.take(number, said=has_room)
        if has_room:
            chosen.append(number)
            most_words -= short[number].length
    return [short[number] for number in sorted(chosen)]


def _units(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield paragraphs and list items with the numbers of their first lines."""
    held: list[str] = []
    first, fenced = 0, False
    for number, line in enumerate([*lines, ""], start=1):
        is_fence = line.lstrip()[:3] in ("```", "~~~")
        fenced ^= is_fence
        ends = fenced or not line.strip() or _IS_NO_PROSE.match(line) is not None
        if held and (ends or _STARTS_UNIT.match(line)):
            yield first, "\n".join(held)
            held = []
        if not ends:
            first = first if held else number
            held.append(line)

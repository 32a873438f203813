"""The words of a text as a reader hears them: spelt-out, split, glued, leet and misspelt ones mended."""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from string import ascii_letters

from orchestrator.safety.disguise import Copy, latin

_VOCABULARY: Mapping[str, str] = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text("utf-8"))
_TRIGGERS = frozenset(_VOCABULARY["triggers"].split())
_SMALL = frozenset(_VOCABULARY["small"].split())
_KNOWN = _TRIGGERS | _SMALL
_LONGEST = max(map(len, _KNOWN))
_STOP = "."

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.!?;。！？؟]")
_LEET_SIGN = re.compile(r"[@$!|€+][^\W_]")
_LEET_TOKEN = re.compile(
    r"[^\W_]+(?:['@$!|€+0-9]+[^\W_]+|[@$!|]+(?=[^\W_]))*|[@$€](?=[^\W_])[^\W_]*(?:[@$!|€+]+[^\W_]+)*|[.!?;。！？؟]"
)
_STOPS = frozenset(".!?;。！？؟")
_LEET = tuple(str.maketrans("0345789@$€+1!|", f"oeastbgaset{3 * bar}") for bar in "il")
_STRETCHED = re.compile(r"(.)\1{2,}")
_GLUED = range(10, 200)
_LEAST_SPELT = 4
_STRANGE_LETTER_COST = 2


def _shape(word: str) -> tuple[str, str, str]:
    return word[0], word[-1], "".join(sorted(word[1:-1]))


_BY_SHAPE = {_shape(word): word for word in sorted(_TRIGGERS) if len(word) > 5}
_BY_LOSS = {
    word[:gap] + word[gap + 1 :]: word
    for word in sorted(_TRIGGERS)
    if len(word) > 6
    for gap in range(1, len(word))
}

_ENDS = frozenset(word[0] + word[-1] for word in _TRIGGERS)
# A word that isn't one of these can't be the first part of a trigger word cut in two, or spelt out.
_HEADS = {word[:size] for word in _TRIGGERS if len(word) > 5 for size in range(1, len(word))} | set(
    ascii_letters
)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Words beside the first and the last token that each was made of; three lists of one length."""

    texts: list[str]
    firsts: list[int]
    lasts: list[int]

    def extend(self, words: Sequence[str], places: Sequence[int]) -> None:
        """Add words that are one token each."""
        self.texts.extend(words)
        self.firsts.extend(places)
        self.lasts.extend(places)

    def append(self, words: Sequence[str], first: int, last: int) -> None:
        """Add the words that a stretch of tokens was read as."""
        self.texts.extend(words)
        self.firsts.extend([first] * len(words))
        self.lasts.extend([last] * len(words))


class Words:
    """The words joined by single spaces, one space at either end; sentences end in a lone full stop.

    Places are worked out when the first span is asked for: most texts hold nothing to ask about.
    """

    def __init__(self, copy: Copy, pattern: re.Pattern[str], pieces: _Pieces) -> None:
        self._copy = copy
        self._pattern = pattern
        self._pieces = pieces
        self.text = f" {' '.join(pieces.texts)} "
        self.distinct: Set[str] = set(pieces.texts)

    @cached_property
    def _starts(self) -> Sequence[int]:
        return list(accumulate((len(text) + 1 for text in self._pieces.texts), initial=1))[:-1]

    @cached_property
    def _places(self) -> Sequence[tuple[int, int]]:
        return [match.span() for match in self._pattern.finditer(self._copy.text)]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Translate a span of the joined words into one of the original text."""
        first = self._pieces.firsts[max(bisect_right(self._starts, start) - 1, 0)]
        last = self._pieces.lasts[max(bisect_right(self._starts, end - 1) - 1, 0)]
        return self._copy.span(self._places[first][0], self._places[last][1])


def words_of(copy: Copy) -> Words:
    """Split a bare copy into words and mend the trigger words among them; linear in the text."""
    pattern = _LEET_TOKEN if _LEET_SIGN.search(copy.text) else _TOKEN
    tokens = pattern.findall(copy.text)
    stops = dict.fromkeys(_STOPS.intersection(tokens), _STOP)
    if stops:
        tokens = [stops.get(token, token) for token in tokens]
    mended = {token: _mended(token) for token in set(tokens)}
    return Words(copy, pattern, _joined(tokens, _without_lone_stops(tokens), mended))


def _without_lone_stops(tokens: Sequence[str]) -> Sequence[int]:
    """Drop the stops after one-word sentences: "Ignore. all. previous." is one sentence in disguise."""
    stops = [place for place, token in enumerate(tokens) if token == _STOP]
    lone = {stop for before, stop in pairwise([-1, *stops]) if stop - before <= 2}
    return [place for place in range(len(tokens)) if place not in lone] if lone else range(len(tokens))


def _mended(token: str) -> tuple[str, ...]:
    token = token.replace("'", "")
    if token in _KNOWN or token == _STOP or _is_beyond_doubt(token):
        return (token,)
    if not token.isascii():
        token = _read_as_latin(token)
    if token in _KNOWN:
        return (token,)
    if len(token) in _GLUED and token.isalpha():
        parts = _unglued(token)
        if parts:
            return parts
    return (_leet(token) or _respelt(token) or token,)


def _is_beyond_doubt(token: str) -> bool:
    if not token.isascii():
        return False
    is_short_word = len(token) < _GLUED.start and token[0] + token[-1] not in _ENDS and token.isalpha()
    return is_short_word or token.isdigit()


def _read_as_latin(token: str) -> str:
    folded = latin(token)
    is_mixed = any(letter.isascii() for letter in token)
    return folded if folded.isascii() and (is_mixed or folded in _KNOWN) else token


def _leet(token: str) -> str | None:
    if len(token) > _LONGEST or token.isalpha() or token.isdigit():
        return None
    return next((word for table in _LEET if (word := token.translate(table)) in _KNOWN), None)


def _respelt(token: str) -> str | None:
    if len(token) < 5 or token[0] + token[-1] not in _ENDS or not token.isalpha():
        return None
    squeezed = _STRETCHED.sub(r"\1", token)
    if squeezed in _TRIGGERS:
        return squeezed
    return _BY_SHAPE.get(_shape(token)) or _BY_LOSS.get(token)


def _unglued(token: str, *, triggers: int = 2) -> tuple[str, ...]:
    """Cut a run of letters into known words, with as few letters left over and as few words as can be."""
    costs = [0] + [0] * len(token)
    lengths = [0] * (len(token) + 1)
    for end in range(1, len(token) + 1):
        costs[end], lengths[end] = costs[end - 1] + _STRANGE_LETTER_COST, 1
        for start in range(max(0, end - _LONGEST), end - 1):
            if costs[start] < costs[end] and token[start:end] in _KNOWN:
                costs[end], lengths[end] = costs[start] + 1, end - start
    parts = _cut(token, lengths)
    strange = sum(len(part) for part in parts if part not in _KNOWN)
    is_hidden = sum(part in _TRIGGERS for part in parts) >= triggers and strange * 3 <= len(token)
    return parts if is_hidden else ()


def _cut(token: str, lengths: Sequence[int]) -> tuple[str, ...]:
    parts: list[str] = []
    end = len(token)
    was_strange = False
    while end:
        part = token[end - lengths[end] : end]
        if was_strange and len(part) == 1:
            parts[-1] = part + parts[-1]
        else:
            parts.append(part)
        was_strange = len(part) == 1
        end -= lengths[end]
    return tuple(reversed(parts))


def _joined(every: Sequence[str], kept: Sequence[int], mended: Mapping[str, tuple[str, ...]]) -> _Pieces:
    """Join what was split: letters spelt one by one, and trigger words cut in two."""
    tokens = every if len(kept) == len(every) else [every[place] for place in kept]
    words = [mended[token][0] for token in tokens]
    unusual = {token for token, parts in mended.items() if len(parts) > 1 or parts[0] in _HEADS}
    pieces = _Pieces([], [], [])
    at = 0
    for index in [index for index, token in enumerate(tokens) if token in unusual]:
        if index < at:
            continue
        pieces.extend(words[at:index], kept[at:index])
        right = words[index + 1] if index + 1 < len(words) else ""
        at = index + 1
        if words[index] not in _HEADS:
            pieces.append(mended[tokens[index]], kept[index], kept[index])
        elif len(words[index]) == 1 and len(right) == 1:
            at = _end_of_spelling(tokens, index)
            _append_spelt(pieces, tokens[index:at], kept[index:at])
        elif right and words[index] + right in _TRIGGERS and _is_cut(words[index], right):
            at = index + 2
            pieces.append((words[index] + right,), kept[index], kept[index + 1])
        else:
            pieces.append(mended[tokens[index]], kept[index], kept[index])
    pieces.extend(words[at:], kept[at:])
    return pieces


def _end_of_spelling(tokens: Sequence[str], at: int) -> int:
    stop = at + 1
    while stop < len(tokens) and stop - at < _GLUED.stop and len(tokens[stop]) == 1:
        stop += 1
    return stop


def _append_spelt(pieces: _Pieces, letters: Sequence[str], places: Sequence[int]) -> None:
    if len(letters) < _LEAST_SPELT:
        pieces.extend(letters, places)
        return
    word = latin("".join(letters).replace(_STOP, ""))
    word = _leet(word) or word or _STOP
    words = (word,) if word in _KNOWN else _unglued(word, triggers=1) if len(word) in _GLUED else ()
    pieces.append(words or (word,), places[0], places[-1])


def _is_cut(left: str, right: str) -> bool:
    return len(left) + len(right) > 5 and not (left in _KNOWN and right in _KNOWN)

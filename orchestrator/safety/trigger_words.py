"""Restores trigger words that are spelled out, split, joined, misspelled or written in leet."""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from string import ascii_letters

from orchestrator.safety.deobfuscation import MappedText, to_latin

_VOCABULARY: Mapping[str, str] = tomllib.loads(
    Path(__file__).with_name("trigger_words.toml").read_text("utf-8")
)
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
_JOINED_LENGTHS = range(10, 200)
_MIN_SPELLED_OUT = 4
_UNKNOWN_LETTER_COST = 2


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
# the possible first parts of a trigger word that is split in two or spelled out
_HEADS = {word[:size] for word in _TRIGGERS if len(word) > 5 for size in range(1, len(word))} | set(
    ascii_letters
)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Words with the first and the last token that each was made of; three lists of equal length."""

    texts: list[str]
    firsts: list[int]
    lasts: list[int]

    def extend(self, words: Sequence[str], indices: Sequence[int]) -> None:
        """Add words of one token each."""
        self.texts.extend(words)
        self.firsts.extend(indices)
        self.lasts.extend(indices)

    def append(self, words: Sequence[str], first: int, last: int) -> None:
        """Add the words that the tokens `first` to `last` stand for."""
        self.texts.extend(words)
        self.firsts.extend([first] * len(words))
        self.lasts.extend([last] * len(words))


class RestoredWords:
    """The words of a text, joined by single spaces, with a space at both ends; a full stop ends a sentence.

    Spans are computed on the first request, because most texts need none.
    """

    def __init__(self, mapped: MappedText, pattern: re.Pattern[str], pieces: _Pieces) -> None:
        self._mapped = mapped
        self._pattern = pattern
        self._pieces = pieces
        self.text = f" {' '.join(pieces.texts)} "
        self.distinct: Set[str] = set(pieces.texts)

    @cached_property
    def _starts(self) -> Sequence[int]:
        return list(accumulate((len(text) + 1 for text in self._pieces.texts), initial=1))[:-1]

    @cached_property
    def _spans(self) -> Sequence[tuple[int, int]]:
        return [match.span() for match in self._pattern.finditer(self._mapped.text)]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a span of the joined words to the original text."""
        first = self._pieces.firsts[max(bisect_right(self._starts, start) - 1, 0)]
        last = self._pieces.lasts[max(bisect_right(self._starts, end - 1) - 1, 0)]
        return self._mapped.span(self._spans[first][0], self._spans[last][1])


def restore_words(mapped: MappedText) -> RestoredWords:
    """Split a text (from `normalize_for_words`) into words and restore trigger words. Linear time."""
    pattern = _LEET_TOKEN if _LEET_SIGN.search(mapped.text) else _TOKEN
    tokens = pattern.findall(mapped.text)
    stops = dict.fromkeys(_STOPS.intersection(tokens), _STOP)
    if stops:
        tokens = [stops.get(token, token) for token in tokens]
    restored = {token: _restored(token) for token in set(tokens)}
    return RestoredWords(mapped, pattern, _joined(tokens, _without_lone_stops(tokens), restored))


def _without_lone_stops(tokens: Sequence[str]) -> Sequence[int]:
    """Return the indices of the tokens without the stops of one-word sentences, as in "Ignore. all. previous."."""
    stops = [index for index, token in enumerate(tokens) if token == _STOP]
    lone = {stop for before, stop in pairwise([-1, *stops]) if stop - before <= 2}
    return [index for index in range(len(tokens)) if index not in lone] if lone else range(len(tokens))


def _restored(token: str) -> tuple[str, ...]:
    token = token.replace("'", "")
    if token in _KNOWN or token == _STOP or _is_ordinary(token):
        return (token,)
    if not token.isascii():
        token = _read_as_latin(token)
    if token in _KNOWN:
        return (token,)
    if len(token) in _JOINED_LENGTHS and token.isalpha():
        parts = _split_joined(token)
        if parts:
            return parts
    return (_leet(token) or _corrected_spelling(token) or token,)


def _is_ordinary(token: str) -> bool:
    if not token.isascii():
        return False
    is_short_word = (
        len(token) < _JOINED_LENGTHS.start and token[0] + token[-1] not in _ENDS and token.isalpha()
    )
    return is_short_word or token.isdigit()


def _read_as_latin(token: str) -> str:
    folded = to_latin(token)
    is_mixed = any(letter.isascii() for letter in token)
    return folded if folded.isascii() and (is_mixed or folded in _KNOWN) else token


def _leet(token: str) -> str | None:
    if len(token) > _LONGEST or token.isalpha() or token.isdigit():
        return None
    return next((word for table in _LEET if (word := token.translate(table)) in _KNOWN), None)


def _corrected_spelling(token: str) -> str | None:
    if len(token) < 5 or token[0] + token[-1] not in _ENDS or not token.isalpha():
        return None
    squeezed = _STRETCHED.sub(r"\1", token)
    if squeezed in _TRIGGERS:
        return squeezed
    return _BY_SHAPE.get(_shape(token)) or _BY_LOSS.get(token)


def _split_joined(token: str, *, triggers: int = 2) -> tuple[str, ...]:
    """Split a run of letters into known words with the fewest leftover letters and the fewest words."""
    costs = [0] + [0] * len(token)
    lengths = [0] * (len(token) + 1)
    for end in range(1, len(token) + 1):
        costs[end], lengths[end] = costs[end - 1] + _UNKNOWN_LETTER_COST, 1
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


def _joined(every: Sequence[str], kept: Sequence[int], restored: Mapping[str, tuple[str, ...]]) -> _Pieces:
    """Join what was split: letters spelt one by one, and trigger words cut in two."""
    tokens = every if len(kept) == len(every) else [every[index] for index in kept]
    words = [restored[token][0] for token in tokens]
    unusual = {token for token, parts in restored.items() if len(parts) > 1 or parts[0] in _HEADS}
    pieces = _Pieces([], [], [])
    at = 0
    for index in [index for index, token in enumerate(tokens) if token in unusual]:
        if index < at:
            continue
        pieces.extend(words[at:index], kept[at:index])
        right = words[index + 1] if index + 1 < len(words) else ""
        at = index + 1
        if words[index] not in _HEADS:
            pieces.append(restored[tokens[index]], kept[index], kept[index])
        elif len(words[index]) == 1 and len(right) == 1:
            at = _end_of_letters(tokens, index)
            _append_spelled_out(pieces, tokens[index:at], kept[index:at])
        elif right and words[index] + right in _TRIGGERS and _is_cut(words[index], right):
            at = index + 2
            pieces.append((words[index] + right,), kept[index], kept[index + 1])
        else:
            pieces.append(restored[tokens[index]], kept[index], kept[index])
    pieces.extend(words[at:], kept[at:])
    return pieces


def _end_of_letters(tokens: Sequence[str], at: int) -> int:
    stop = at + 1
    while stop < len(tokens) and stop - at < _JOINED_LENGTHS.stop and len(tokens[stop]) == 1:
        stop += 1
    return stop


def _append_spelled_out(pieces: _Pieces, letters: Sequence[str], indices: Sequence[int]) -> None:
    if len(letters) < _MIN_SPELLED_OUT:
        pieces.extend(letters, indices)
        return
    word = to_latin("".join(letters).replace(_STOP, ""))
    word = _leet(word) or word or _STOP
    words = (
        (word,) if word in _KNOWN else _split_joined(word, triggers=1) if len(word) in _JOINED_LENGTHS else ()
    )
    pieces.append(words or (word,), indices[0], indices[-1])


def _is_cut(left: str, right: str) -> bool:
    return len(left) + len(right) > 5 and not (left in _KNOWN and right in _KNOWN)

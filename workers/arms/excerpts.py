"""Chooses the parts of long texts that a model sees within a room in bytes: fair shares, the fitting parts first."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

LONGEST_PART = 1_200
"""Characters; longer parts are divided, at the end of a line where there is one."""
MAX_WORDS = 40
_WORD = re.compile(r"\w{3,60}")


@dataclass(frozen=True)
class TextPart:
    """A part of a text: characters `begin` to `end` of the text `name`."""

    name: str
    text: str
    begin: int

    @property
    def end(self) -> int:
        """Return where the part ends in its text."""
        return self.begin + len(self.text)

    @property
    def size_bytes(self) -> int:
        """Return the size in UTF-8."""
        return size_of(self.text)


def size_of(text: str) -> int:
    """Return the size of a text in UTF-8 bytes."""
    return len(text.encode("utf-8", "surrogatepass"))


def fair_shares(sizes: Sequence[int], room: int) -> list[int]:
    """Divide `room` among texts of these sizes: short ones get their whole size, the others equal parts of the rest."""
    shares = [0] * len(sizes)
    ordered = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for place, index in enumerate(ordered):
        shares[index] = min(sizes[index], room // (len(ordered) - place))
        room -= shares[index]
    return shares


def divide(name: str, text: str, *, starts: re.Pattern[str] | None = None) -> list[TextPart]:
    """Return the parts of a text: each match of `starts` begins one."""
    found = (match.start() for match in starts.finditer(text)) if starts else ()
    borders = sorted({0, *found, len(text)})
    return [
        TextPart(name, text[begin:end], begin)
        for first, last in pairwise(borders)
        for begin, end in _pieces(text, first, last)
    ]


def words_in(texts: Iterable[str]) -> list[str]:
    """Return the words, at most MAX_WORDS, by which parts are found: folded, without duplicates."""
    return list(dict.fromkeys(word.casefold() for text in texts for word in _WORD.findall(text)))[:MAX_WORDS]


def rankings(parts: Sequence[TextPart], wanted: Iterable[Sequence[str]]) -> list[list[int]]:
    """Return the numbers of the parts once for each group of folded words, those with the most of its words first."""
    folded = [part.text.casefold() for part in parts]
    orders = []
    for words in wanted:
        scores = [sum(word in text for word in words) for text in folded]
        orders.append(sorted(range(len(parts)), key=lambda number: (-scores[number], number)))
    return orders


def choose(parts: Sequence[TextPart], orders: Sequence[Sequence[int]], room: int) -> list[TextPart]:
    """Return parts that fit into `room` bytes, in their own order.

    The orders (see `rankings`) take turns: each chooses its best part that is not chosen yet and fits.
    """
    chosen: set[int] = set()
    turns = [iter(order) for order in orders]
    while turns:
        going = []
        for turn in turns:
            number = next((one for one in turn if one not in chosen and parts[one].size_bytes <= room), None)
            if number is not None:
                chosen.add(number)
                room -= parts[number].size_bytes
                going.append(turn)
        turns = going
    return [parts[number] for number in sorted(chosen)]


def joined(parts: Sequence[TextPart]) -> list[TextPart]:
    """Join parts of the same text that follow each other."""
    runs: list[list[TextPart]] = []
    for part in parts:
        last = runs[-1][-1] if runs else None
        if last is not None and last.name == part.name and last.end == part.begin:
            runs[-1].append(part)
        else:
            runs.append([part])
    return [TextPart(run[0].name, "".join(part.text for part in run), run[0].begin) for run in runs]


def shortened(text: str, *, room: int, wanted: Sequence[str] = ()) -> str:
    """Return a text of more than `room` bytes shortened to about `room`, with a mark at each gap.

    Each of the `wanted` texts chooses in turn the parts that have most of its words; without any, the first are kept.
    """
    parts = divide("", text)
    orders = rankings(parts, [words_in([one]) for one in wanted] or [[]])
    shown, at = [], 0
    for part in joined(choose(parts, orders, room)):
        if part.begin > at:
            shown.append(_gap(part.begin - at))
        shown.append(part.text)
        at = part.end
    if at < len(text):
        shown.append(_gap(len(text) - at))
    return "\n".join(shown)


def _gap(characters: int) -> str:
    return f"[... {characters} characters left out here ...]"


def _pieces(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while end - begin > LONGEST_PART:
        cut = text.rfind("\n", begin + 1, begin + LONGEST_PART) + 1 or begin + LONGEST_PART
        yield begin, cut
        begin = cut
    if begin < end:
        yield begin, end

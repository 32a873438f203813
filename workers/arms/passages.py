"""Cuts texts into passages that can be cited, and queries into the terms that are looked for."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from orchestrator.memory.documents import Passage
from orchestrator.models.errors import InvalidStepInput
from workers.arms.sources import Source

MAX_LINES = 12
MAX_CHARACTERS = 2_000
MAX_PASSAGES = 100_000
"""Passages of one document: the 16 MiB of text that are read of it have fewer when a paragraph has 200 bytes."""
_WORD = re.compile(r"\w[\w'-]*")
_QUOTED = re.compile(r'"([^"]+)"')
_EXCLUDED = re.compile(r'(?:^|(?<=\s))-(?:"[^"]*"|\S+)')


def passages_of(source: Source) -> Iterator[Passage]:
    """Yield the source's paragraphs; long ones in pieces of MAX_LINES lines or MAX_CHARACTERS characters."""
    held: list[str] = []
    first = start = at = 0
    for number, raw in enumerate([*source.text.split("\n"), ""], start=1):
        line = raw.removesuffix("\r")
        if held and (not line.strip() or _is_full(held, line)):
            yield from _pieces(source.name, held, line=first, first_byte=start)
            held = []
        if line.strip():
            if not held:
                first, start = number, at
            held.append(line)
        at += len(raw.encode()) + 1


def all_passages_of(
    sources: Iterable[Source], about: str, *, checkpoint: Callable[[], None] = lambda: None
) -> list[Passage]:
    """Return the passages of all sources; raises InvalidStepInput, which names `about`, above MAX_PASSAGES."""
    passages: list[Passage] = []
    for source in sources:
        checkpoint()
        passages.extend(islice(passages_of(source), MAX_PASSAGES + 1 - len(passages)))
        if len(passages) > MAX_PASSAGES:
            raise InvalidStepInput(
                f"{about} has more than {MAX_PASSAGES} paragraphs or pieces of text: attach less of it at once"
            )
    return passages


def terms_of(query: str) -> list[str]:
    """Return what a query looks for, folded: its phrases in quotes and its other words, each once."""
    wanted = _EXCLUDED.sub(" ", query)
    phrases = [" ".join(phrase.split()) for phrase in _QUOTED.findall(wanted)]
    words = [word for word in _WORD.findall(_QUOTED.sub(" ", wanted)) if word.casefold() != "or"]
    return list(dict.fromkeys(term.casefold() for term in [*phrases, *words] if term))


def unwanted_in(query: str) -> str:
    """Return what a query excludes, as it says it."""
    return " ".join(_EXCLUDED.findall(query))


def is_literal(query: str) -> bool:
    """Tell whether a query asks for a phrase, or excludes something: then only its very words will do."""
    return bool(_QUOTED.search(query) or unwanted_in(query))


def _is_full(held: list[str], line: str) -> bool:
    return len(held) == MAX_LINES or sum(map(len, held)) + len(held) + len(line) > MAX_CHARACTERS


def _pieces(file: str, lines: list[str], *, line: int, first_byte: int) -> Iterator[Passage]:
    """Yield the lines as one passage, or a line that is too long for one in several."""
    text = "\n".join(lines)
    last = line + len(lines) - 1
    for start in range(0, len(text), MAX_CHARACTERS):
        piece = text[start : start + MAX_CHARACTERS]
        yield Passage(file, line, last, first_byte, piece)
        first_byte += len(piece.encode())

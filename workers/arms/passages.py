"""Cuts texts into passages that can be cited, and queries into the terms that are looked for."""

import re
from collections.abc import Iterator

from orchestrator.store.documents import Passage
from workers.arms.sources import Source

MAX_LINES = 12
MAX_CHARACTERS = 2_000
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
        before = len(text[:start].encode())
        yield Passage(file, line, last, first_byte + before, text[start : start + MAX_CHARACTERS])

"""A goal read into tokens: quotes and code first, then what stands between spaces."""

import re
from collections.abc import Iterator, Sequence

from orchestrator.similarity.chunk import Chunk
from orchestrator.similarity.core import tokens_in
from orchestrator.similarity.letters import composed, plain
from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import words

_FUNCTION = words("article", "function") | words("language", "english")
_NAMES_A_MARK = words("mark", "named_by")
_LOOSE = frozenset((",", "'", '"', "—", "--"))

_OPENER = re.compile(r"```|``|`|(?<![^\s(\[{<=,:;|>/—–-])[\"'](?=\S)|[“„«‘「『]")
_CLOSERS = {
    "```": re.compile("```"),
    "``": re.compile("``"),
    "`": re.compile("`"),
    '"': re.compile('"'),
    "'": re.compile(r"(?<=\S)'(?![^\s.,;:!?)\]}>\"/|—–-])"),
    "“": re.compile('[”"]'),
    "„": re.compile("[“”]"),
    "«": re.compile("»"),
    "‘": re.compile(r"’(?![^\s.,;:!?)\]}>\"/|—–-])"),
    "「": re.compile("」"),
    "『": re.compile("』"),
}
_HUMP = re.compile(r"[a-z][A-Z]")
_LETTER = r"[A-Za-z\x80-\U0010ffff]"
_WORDS = re.compile(rf"{_LETTER}+(?:[',-]{_LETTER}+)*+'?")
_LETTERS = re.compile(r"[A-Za-z]{2,}")
_REGULAR = re.compile(r"[a-z]+|[A-Z]+|[A-Z][a-z]+")
_SUM = re.compile(
    r"[0-9)\]] ?[-+*/^=%×÷·<>|]|[-+*/^=%×÷·<>|] ?[(\[0-9]|\b[A-Za-z] ?[-+*/^=×÷<>]|[(\[] ?-?[0-9.]+ ?,",
    re.ASCII,
)
_LINK = re.compile(r"(?<![a-z])[a-z]++://\S+")
_LOGIC = re.compile(r"\b(?:and|or|not|but|nor|except|unless|without)\b", re.IGNORECASE | re.ASCII)
_TERM = re.compile(r"[0-9(].*|[A-Za-z]|.*[0-9)]", re.DOTALL)
_PAUSE = Token(Kind.SYMBOL, "", "")


class Reading:
    """The tokens of a goal. `case_speaks` tells that it uses capitals with care: some words have them, most do not."""

    def __init__(self, goal: str) -> None:
        pieces = list(_pieces(composed(goal)))
        prose = " ".join(text for kind, text in pieces if kind is None)
        spoken = list(_spoken(prose))
        self._keeps_humps = not _is_random_case(spoken)
        self._keeps_brackets = bool(_SUM.search(_LINK.sub("", prose))) or len(_LOGIC.findall(prose)) > 1
        self.case_speaks = self._keeps_humps and _case_speaks(spoken)
        self.tokens = list(_with_pauses(self._read(pieces)))

    def _read(self, pieces: Sequence[tuple[Kind | None, str]]) -> Iterator[Token]:
        for place, (kind, text) in enumerate(pieces, start=1):
            if kind is None:
                yield from self._prose(plain(text).split(), ends=place == len(pieces))
            else:
                yield Token(kind, text, text)

    def _prose(self, texts: Sequence[str], *, ends: bool) -> Iterator[Token]:
        for place, text in enumerate(texts):
            last = ends and place == len(texts) - 1
            chunk = Chunk(text, last=last)
            if chunk.is_punctuation:
                before = texts[place - 1] if place else ""
                yield self._mark(text, before, "" if last else "".join(texts[place + 1 : place + 2]) or text)
                continue
            yield from self._brackets(chunk.before)
            yield from tokens_in(chunk.core, keeps_humps=self._keeps_humps)
            yield from self._brackets(chunk.after)
            if chunk.is_closed:
                yield _PAUSE

    def _brackets(self, marks: str) -> Iterator[Token]:
        if self._keeps_brackets:
            yield from (Token(Kind.SYMBOL, mark, mark) for mark in marks if mark in "()[]{}")

    def _mark(self, text: str, before: str, after: str) -> Token:
        if text == ".." or before.lower() in _NAMES_A_MARK:
            is_kept = True
        elif set(text) <= set("()[]{}"):
            is_kept = self._keeps_brackets or len(text) > 1
        elif text == "-":
            is_kept = bool(_TERM.fullmatch(before) and _TERM.fullmatch(after))
        else:
            is_kept = bool(after) and text not in _LOOSE
        return Token(Kind.SYMBOL, text, text) if is_kept else _PAUSE


def _pieces(text: str) -> Iterator[tuple[Kind | None, str]]:
    done = at = 0
    hopeless = set()
    while found := _OPENER.search(text, at):
        opener, at = found[0], found.end()
        closer = None if opener in hopeless else _CLOSERS[opener].search(text, at)
        if closer is None:
            hopeless.add(opener)
            continue
        yield None, text[done : found.start()]
        yield Kind.CODE if opener[0] == "`" else Kind.QUOTE, text[at : closer.start()]
        done = at = closer.end()
    yield None, text[done:]


def _with_pauses(tokens: Iterator[Token]) -> Iterator[Token]:
    pause = True
    for token in tokens:
        if token.text or token.kind is Kind.QUOTE or token.kind is Kind.CODE:
            yield token._replace(pause=pause)
            pause = False
        else:
            pause = True


def _spoken(prose: str) -> Iterator[str]:
    """Return the runs of ASCII letters in words. What an identifier holds says nothing of the case around it."""
    for text in plain(prose).split():
        core = Chunk(text, last=False).core
        if _WORDS.fullmatch(core):
            yield from _LETTERS.findall(core)


def _is_random_case(spoken: Sequence[str]) -> bool:
    return any(map(_HUMP.search, spoken)) and any(
        not _REGULAR.fullmatch(word) and word.lower() in _FUNCTION for word in spoken
    )


def _case_speaks(spoken: Sequence[str]) -> bool:
    return sum(map(str.islower, spoken)) > sum(map(str.isupper, spoken))

"""Splits a goal into tokens: quoted text and code first, then chunks between spaces without their punctuation."""

import re
from collections.abc import Iterator, Sequence

from orchestrator.similarity.lexicon import words
from orchestrator.similarity.tokens import Kind, Token, classify
from orchestrator.similarity.unicode_forms import compose, fold_forms

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
_CASE_CHANGE = re.compile(r"[a-z][A-Z]")
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
_BREAK = Token(Kind.SYMBOL, "", "")
_DIGITS = frozenset("0123456789")
_OWNERS = _DIGITS | frozenset("sS")
_FACTORIALS = _DIGITS | frozenset(")")
_STOPS = frozenset(".,;:!?")
_DROPPED_AT_END = frozenset(".,;:!?'\"¿¡")
_DROPPED_AT_START = frozenset(",;'\"¿¡")
_PUNCTUATION = _STOPS | frozenset("¿¡'\"()[]{}-—")
_CLOSES = {")": "(", "]": "[", "}": "{"}
_BRACKETS = re.compile(r"[()\[\]{}]")
_BRACKETED_LINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]*:[^<>]+>|<[^@<>]+@[^@<>]+>")
_TWO_LETTERS = re.compile(r"[A-Za-z]{2}|[^\x00-\x7f]")


class Tokenizer:
    """The tokens of a goal.

    `case_is_significant` is true if most words of the goal are lower case, so that capitals mean something.
    """

    def __init__(self, goal: str) -> None:
        pieces = list(_pieces(compose(goal)))
        prose = " ".join(text for kind, text in pieces if kind is None)
        words_in_prose = list(_prose_words(prose))
        self._keeps_camel_case = not _is_random_case(words_in_prose)
        self._keeps_brackets = bool(_SUM.search(_LINK.sub("", prose))) or len(_LOGIC.findall(prose)) > 1
        self.case_is_significant = self._keeps_camel_case and _has_significant_case(words_in_prose)
        self.tokens = list(_with_breaks(self._read(pieces)))

    def _read(self, pieces: Sequence[tuple[Kind | None, str]]) -> Iterator[Token]:
        for index, (kind, text) in enumerate(pieces, start=1):
            if kind is None:
                yield from self._prose(fold_forms(text).split(), ends=index == len(pieces))
            else:
                yield Token(kind, text, text)

    def _prose(self, texts: Sequence[str], *, ends: bool) -> Iterator[Token]:
        for index, text in enumerate(texts):
            last = ends and index == len(texts) - 1
            chunk = _Chunk(text, last=last)
            if chunk.is_punctuation:
                before = texts[index - 1] if index else ""
                yield self._mark(text, before, "" if last else "".join(texts[index + 1 : index + 2]) or text)
                continue
            yield from self._brackets(chunk.before)
            yield from classify(chunk.core, keeps_camel_case=self._keeps_camel_case)
            yield from self._brackets(chunk.after)
            if chunk.is_closed:
                yield _BREAK

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
        return Token(Kind.SYMBOL, text, text) if is_kept else _BREAK


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


def _with_breaks(tokens: Iterator[Token]) -> Iterator[Token]:
    after_break = True
    for token in tokens:
        if token.text or token.kind is Kind.QUOTE or token.kind is Kind.CODE:
            yield token._replace(after_break=after_break)
            after_break = False
        else:
            after_break = True


def _prose_words(prose: str) -> Iterator[str]:
    """Yield the runs of ASCII letters in words; identifiers are left out, since their case follows other rules."""
    for text in fold_forms(prose).split():
        core = _Chunk(text, last=False).core
        if _WORDS.fullmatch(core):
            yield from _LETTERS.findall(core)


def _is_random_case(words_in_prose: Sequence[str]) -> bool:
    return any(map(_CASE_CHANGE.search, words_in_prose)) and any(
        not _REGULAR.fullmatch(word) and word.lower() in _FUNCTION for word in words_in_prose
    )


def _has_significant_case(words_in_prose: Sequence[str]) -> bool:
    return sum(map(str.islower, words_in_prose)) > sum(map(str.isupper, words_in_prose))


class _Chunk:
    """A run of characters between spaces: its core, and the punctuation `before` and `after` it. Linear time."""

    def __init__(self, text: str, *, last: bool) -> None:
        self._text, self._partners, self._last = text, _partners(text), last
        self._has_word = _TWO_LETTERS.search(text) is not None
        start, end = 0, len(text)
        while start < end and (step := self._step(start, end)) != (start, end):
            start, end = step
        self.before, self.core, self.after = text[:start], text[start:end], text[end:]

    @property
    def is_punctuation(self) -> bool:
        """True if the chunk has no core or consists of punctuation only."""
        return not self.core or set(self._text) <= _PUNCTUATION

    @property
    def is_closed(self) -> bool:
        """True if the chunk ends in a stop or a comma."""
        return any(mark in _STOPS for mark in self.after)

    def _step(self, start: int, end: int) -> tuple[int, int]:
        if self._drops_end(start, end):
            return start, end - 1
        if self._is_wrapped(start, end):
            return start + 1, end - 1
        return (start + 1, end) if self._drops_start(start, end) else (start, end)

    def _drops_end(self, start: int, end: int) -> bool:
        mark = self._text[end - 1]
        if mark in _CLOSES:
            return end - 1 not in self._partners
        if mark not in _DROPPED_AT_END:
            return False
        return not self._belongs_to(mark, before=self._text[end - 2 : end - 1], alone=end - start == 2)

    def _belongs_to(self, mark: str, *, before: str, alone: bool) -> bool:
        """Return whether the mark is no punctuation: a factorial, a possessive, feet or inches."""
        if mark == "!":
            return not self._last and (
                before in _FACTORIALS or (alone and before.isascii() and before.isalpha())
            )
        return (mark == "'" and before in _OWNERS) or (mark == '"' and before in _DIGITS)

    def _is_wrapped(self, start: int, end: int) -> bool:
        if self._text[end - 1] == ">":
            return _BRACKETED_LINK.fullmatch(self._text, start, end) is not None
        return self._text[end - 1] == ")" and self._partners.get(end - 1) == start and self._has_word

    def _drops_start(self, start: int, end: int) -> bool:
        mark = self._text[start]
        if mark in "([{":
            return start not in self._partners
        if mark == ".":
            return self._text.startswith("...", start) or (start > 0 and self._text[start - 1] == ".")
        return mark in _DROPPED_AT_START


def _partners(text: str) -> dict[int, int]:
    partners: dict[int, int] = {}
    opened: list[int] = []
    for found in _BRACKETS.finditer(text):
        mark, index = found[0], found.start()
        if mark not in _CLOSES:
            opened.append(index)
        elif opened and text[opened[-1]] == _CLOSES[mark]:
            partners[index] = opened.pop()
            partners[partners[index]] = index
    return partners

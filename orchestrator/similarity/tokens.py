"""Tokens of a goal, and the classification of one chunk: which parts are words, and which are kept verbatim."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from orchestrator.similarity.lexicon import table, words
from orchestrator.similarity.unicode_forms import fold_case

_BRANDS = words("case", "brands")
_DOTTED_BRANDS = words("case", "dotted_brands")
_DOMAINS = words("case", "domains")
_DOTTED: Mapping[str, str] = table("case", "dotted")
_CONTRACTIONS: Mapping[str, str] = table("contraction", "whole")
_UNITS = words("number", "units_of_measure")
_ORDINALS: Mapping[str, str] = table("number", "ordinals")

_LETTER = r"[A-Za-z\x80-\U0010ffff]"
_ADDRESS = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*+://|www\.|mailto:)\S+|[^@\s]+@[^@\s]+|--?[A-Za-z]\S*|[#@$]\S+", re.DOTALL
)
_NUMBER = re.compile(
    r"(?P<sign>[<>=!~≈≤≥±]*+)(?P<money>[$€£¥]?)(?P<digits>[-+]?[0-9]+(?:[.,][0-9]+)*)(?P<tail>%|-?[A-Za-zµ]+)?"
)
_CLOCK = re.compile(r"(?P<clock>[0-9]{1,2}(?::[0-9]{2}){1,2})(?P<half>[AaPp][Mm])?")
_DOTTED_LETTERS = re.compile(r"(?:[A-Za-z]{1,2}\.)+[A-Za-z]{1,2}")
_DOTTED_NAME = re.compile(r"(?:[A-Za-z0-9-]+\.)+([A-Za-z]{2,5})|\.[A-Za-z]+")
_TAILED = re.compile(r"[A-Za-z]{1,12}(?:\+{1,2}|#|\*)")
_WORD = re.compile(rf"{_LETTER}+(?:'{_LETTER}+)*'?")
_HYPHENATED = re.compile(rf"{_LETTER}{{2,}}(?:'{_LETTER}+)?(?:-{_LETTER}{{2,}}(?:'{_LETTER}+)?)+")
_VERSION = re.compile(r"v?[0-9]+(?:\.[0-9]+)+(?:-?[a-z]+[0-9.]*)?")
_ID_PARTS = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_ONE_CASE = re.compile(r"[a-z0-9]+|[A-Z0-9]+s?|[A-Z][a-z]+[0-9]*|[0-9]+[A-Z][a-z]+|[a-z][A-Z]+[0-9]*")
_CAPITAL_CODE = re.compile(r"[A-Z0-9]{8,}")
_RUN = re.compile(r"[A-Z]+|[0-9]+")
_MAX_RUNS = 3
_SLASHED = re.compile(r"[A-Za-z]+[+#]*(?:/[A-Za-z]+[+#]*){1,3}")
_SLASHED_NAMES = re.compile(r"[A-Z+#]+(?:/[A-Z+#]+)+|[a-z+#]+(?:/[a-z+#]+)+|[A-Z][a-z]*(?:/[A-Za-z][a-z]*)+")
_AMPERSAND = re.compile(r"[A-Za-z]+(?:&[A-Za-z]+)+")
_COMMA = re.compile(rf"(?<={_LETTER}),(?={_LETTER})")
_CAMEL_CASE = re.compile(
    r"(?!(?:[A-Z]{2,}s|(?:Mc|Mac|O')[A-Z][a-z]+|[a-z][A-Z]+)$)(?:[A-Za-z]*?[a-z][A-Z]|[A-Z]{2,}[a-z]{2})"
)
_EMOJI = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff\u200d\u20e3]+")
_MEANINGFUL = re.compile(r"[A-Za-z0-9\x80-\U0010ffff]")
_DIGITS_AT_END = re.compile(r"(?<![0-9])[0-9]+\Z")


class Kind(StrEnum):
    """The class of a token: words are normalized most, numbers a little, the other kinds not at all."""

    WORD = "w"
    NUMBER = "n"
    SYMBOL = "s"
    QUOTE = "q"
    CODE = "c"
    ID = "i"


class Token(NamedTuple):
    """One token of a goal: `text` is its normalized form, `surface` its form in the goal.

    `after_break` is true if punctuation precedes the token.
    """

    kind: Kind
    text: str
    surface: str
    after_break: bool = False


def classify(core: str, *, keeps_camel_case: bool) -> Iterator[Token]:
    """Yield the tokens of a chunk without outer punctuation.

    `keeps_camel_case` is false in a text with random capitals, where camelCase does not mark an identifier.
    """
    if core.isascii() and core.isalpha():
        yield _word(core, keeps_camel_case=keeps_camel_case)
    elif _is_plain(core):
        yield Token(Kind.SYMBOL if _EMOJI.fullmatch(core) else Kind.WORD, fold_case(core), core)
    elif found := _NUMBER.fullmatch(core):
        yield from _number(found)
    elif found := _CLOCK.fullmatch(core):
        yield Token(Kind.NUMBER, found["clock"], core)
        if found["half"]:
            yield Token(Kind.WORD, found["half"].lower(), found["half"])
    elif _HYPHENATED.fullmatch(core):
        for part in core.split("-"):
            yield _word(part, keeps_camel_case=keeps_camel_case)
    elif _COMMA.search(core) and not _ADDRESS.fullmatch(core):
        for part in _COMMA.split(core):
            yield from classify(part, keeps_camel_case=keeps_camel_case)
    else:
        yield _span(core)


def _is_plain(core: str) -> bool:
    lowered = core.lower()
    if lowered in _CONTRACTIONS or _AMPERSAND.fullmatch(core) or _TAILED.fullmatch(core):
        return True
    return _WORD.fullmatch(core) is not None


def _word(text: str, *, keeps_camel_case: bool) -> Token:
    folded = fold_case(text)
    if (
        keeps_camel_case
        and text.isascii()
        and text.isalpha()
        and _CAMEL_CASE.match(text)
        and not {folded, folded.removesuffix("s")} & _BRANDS
    ):
        return Token(Kind.ID, text, text)
    return Token(Kind.WORD, folded, text)


def _number(found: re.Match[str]) -> Iterator[Token]:
    tail = found["tail"] or ""
    unit = tail.lstrip("-")
    ordinal = f"{found['digits']}{unit.lower()}"
    if tail and unit.lower() in ("st", "nd", "rd", "th") and not found["sign"]:
        yield Token(Kind.WORD, _ORDINALS.get(ordinal, ordinal), found[0])
        return
    splits = unit.lower() in _UNITS or (tail.startswith("-") and len(unit) > 1) or tail in ("", "%")
    if not splits or (len(unit) == 1 and unit != "%"):
        yield _span(found[0])
        return
    if found["sign"]:
        yield Token(Kind.SYMBOL, found["sign"], found["sign"])
    if found["money"]:
        yield Token(Kind.SYMBOL, found["money"], found["money"])
    yield Token(Kind.NUMBER, found["digits"], found["digits"])
    if unit:
        yield Token(Kind.SYMBOL if unit == "%" else Kind.WORD, fold_case(unit), unit)


def _span(core: str) -> Token:
    folded = core.lower()
    if _DOTTED_LETTERS.fullmatch(core):
        return Token(Kind.WORD, _DOTTED.get(folded, folded), core)
    if _is_case_free(core):
        return Token(Kind.ID, folded, core)
    return Token(Kind.ID if _MEANINGFUL.search(core) else Kind.SYMBOL, core, core)


def _is_case_free(core: str) -> bool:
    folded = core.lower()
    if folded in _DOTTED_BRANDS or _DIGITS_AT_END.sub("", folded) in _BRANDS:
        return True
    if _VERSION.fullmatch(folded):
        return True
    if found := _DOTTED_NAME.fullmatch(folded):
        return found[1] in _DOMAINS
    if _SLASHED.fullmatch(core):
        return _SLASHED_NAMES.fullmatch(core) is not None
    if not _ID_PARTS.fullmatch(core):
        return False
    if _CAPITAL_CODE.fullmatch(core) and len(_RUN.findall(core)) > _MAX_RUNS:
        return False
    return all(_ONE_CASE.fullmatch(part) for part in core.split("-"))

"""Normalizes Unicode forms and case in the same way on every Python version."""

import re
from unicodedata import ucd_3_2_0 as unicode

_MAX_MARKS = 30
_INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u2060\ufe0e\ufe0f\ufeff" + "".join(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
_FORMS = {
    **{code: unicode.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFEF)},
    **{code: unicode.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)},
    **{ord(mark): None for mark in _INVISIBLE},
    **dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2212"), "-"),
    **dict.fromkeys(map(ord, "。．।"), ". "),
    **dict.fromkeys(map(ord, "、，،"), ", "),
    **dict.fromkeys(map(ord, "《》〈〉【】「」『』•‣"), " "),
    ord("…"): "... ",
    ord("！"): "! ",
    ord("？"): "? ",
    ord("؟"): "? ",
    ord("；"): "; ",
    ord("؛"): "; ",
    ord("（"): " (",
    ord("）"): ") ",
    ord("—"): " — ",
}
_EN_DASH = re.compile(r"(?<=[0-9])\u2013(?=[0-9])")
_JOINERS = re.compile(r"([ -~])[\u200c\u200d]++|(?<![\u200c\u200d])[\u200c\u200d]++(?=[ -~])")
_EMOJI = re.compile(
    r"[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
    r"[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\u20e3]*+"
)
# cased letters younger than Unicode 3.2 and older than Python 3.11: Cherokee, Georgian, the capital sharp s
_LATER_CASED = re.compile("[\u13a0-\u13fd\u1c90-\u1cbf\u1e9e\uab70-\uabbf]")


def compose(text: str) -> str:
    """Return the text in Unicode normalization form C, by version 3.2, whose tables no longer change.

    A text with more than 30 marks on one letter (the bound of UAX 15 for streams) is returned unchanged, because
    normalization sorts the marks in quadratic time.
    """
    if text.isascii() or _is_crowded(text):
        return text
    return unicode.normalize("NFC", text)


def fold_forms(text: str) -> str:
    """Replace full-width forms, ligatures, dashes and curly quotes by ASCII, and remove invisible characters.

    Superscripts and fractions are kept: 10⁵ is not 105.
    """
    if text.isascii():
        return text
    text = _EN_DASH.sub("-", _JOINERS.sub(r"\1", text)).replace("\u2013", " — ")
    return compose(_EMOJI.sub(r" \g<0> ", text.translate(_FORMS)))


def fold_case(text: str) -> str:
    """Return the text case-folded; letters that Unicode added after Python 3.11 keep their case."""
    if text.isascii():
        return text.lower()
    return compose("".join(c.casefold() if _has_known_case(c) else c for c in text))


def _has_known_case(letter: str) -> bool:
    return unicode.category(letter) != "Cn" or _LATER_CASED.match(letter) is not None


def _is_crowded(text: str) -> bool:
    marks = 0
    for letter in text:
        marks = marks + 1 if letter > "\u02ff" and unicode.combining(letter) else 0
        if marks > _MAX_MARKS:
            return True
    return False

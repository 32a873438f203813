"""Instructions wrapped in an encoding: base64 and its kin, hex, binary, Morse, escapes, rot13, reversal."""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from string import ascii_lowercase
from urllib.parse import unquote

from orchestrator.safety.disguise import Copy, backwards

_LEAST_LETTERS = 12
_LONGEST_WORD = 24
_LONG_WORD = 16


@dataclass(frozen=True, slots=True)
class Payload:
    """A decoded stretch of a text; `start` and `end` are the encoded stretch."""

    encoding: str
    start: int
    end: int
    text: str


def _base64(written: str) -> str:
    solid = re.sub(r"\s", "", written).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(solid[: len(solid) - (len(solid) % 4 == 1)] + "=" * (-len(solid) % 4)).decode(
        "utf-8"
    )


def _base32(written: str) -> str:
    solid = written.rstrip("=")
    return base64.b32decode(solid + "=" * (-len(solid) % 8)).decode("utf-8")


def _base85(written: str) -> str:
    return base64.a85decode(written, adobe=True).decode("utf-8")


def _hex(written: str) -> str:
    return bytes.fromhex(re.sub(r"\\x|0x|[\s,:]", "", written)).decode("utf-8")


def _binary(written: str) -> str:
    return bytes(int(octet, 2) for octet in written.split()).decode("utf-8")


def _escapes(written: str) -> str:
    return re.sub(r"\\u\{?([0-9a-fA-F]{4,6})\}?", lambda code: chr(int(code[1], 16) % 0x110000), written)


_MORSE_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- "
    "-. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
_MORSE = dict(zip(_MORSE_SIGNS.split(), ascii_lowercase, strict=True))


def _morse(written: str) -> str:
    return " ".join(
        "".join(_MORSE.get(sign, "") for sign in word.split()) for word in re.split(r"[/|]", written)
    )


@dataclass(frozen=True, slots=True)
class _Encoding:
    name: str
    signs: tuple[str, ...]
    needs_long_word: bool
    pattern: re.Pattern[str]
    decode: Callable[[str], str]


_ENCODINGS = (
    _Encoding("base64", ("",), True, re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}+={0,2}"), _base64),
    _Encoding(
        "base64",
        ("",),
        True,
        re.compile(r"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{32,128}\r?\n){1,}+[A-Za-z0-9+/]{0,128}={0,2}"),
        _base64,
    ),
    _Encoding("base32", ("",), True, re.compile(r"(?<![A-Za-z2-7])[A-Z2-7]{24,}+={0,6}"), _base32),
    _Encoding("base85", ("<~",), False, re.compile(r"<~[!-}\s]{15,}+~>"), _base85),
    _Encoding(
        "hex",
        ("",),
        False,
        re.compile(r"(?<![0-9A-Za-z])(?:(?:\\x|0x)?[0-9a-fA-F]{2}[\s,:]{0,2}){12,}+"),
        _hex,
    ),
    _Encoding(
        "binary",
        ("01",),
        False,
        re.compile(r"[01](?<![01][01])(?<![01]\s[01])[01]{7}\s{1,2}(?:[01]{8}\s{1,2}){6,}+(?:[01]{8})?"),
        _binary,
    ),
    _Encoding(
        "morse",
        (".. ", "-. ", ".- ", "-- "),
        False,
        re.compile(
            r"[.-](?<![.-].)(?<![.-][ /|].)[.-]{0,4}+[ /|]{1,3}+(?:[.-]{1,5}[ /|]{1,3}){11,}+[.-]{0,5}"
        ),
        _morse,
    ),
    _Encoding("percent", ("%",), False, re.compile(r"(?:%[0-9A-Fa-f]{2}[^\s%]{0,24}){3,}+"), unquote),
    _Encoding(
        "entities",
        ("&#",),
        False,
        re.compile(r"(?:&#(?:x[0-9a-fA-F]{1,6}|\d{1,7});\s{0,2}){6,}+"),
        html.unescape,
    ),
    _Encoding(
        "escapes",
        ("\\u",),
        False,
        re.compile(r"(?:\\u(?:[0-9a-fA-F]{4}|\{[0-9a-fA-F]{1,6}\})){6,}+"),
        _escapes,
    ),
)
# Common words and trigger words in rot13 and backwards; two of them in one text belong to no language.
_ROT13 = "gur naq lbh lbhe nyy ner abj vtaber sbetrg qvfertneq cerivbhf vafgehpgvbaf cebzcg flfgrz erirny"
_REVERSED = (
    "eht ruoy uoy lla dna won erongi drageresid tegrof suoiverp roirp snoitcurtsni tpmorp metsys laever"
)
_ROT13_SIGNS = frozenset(_ROT13.split())
_REVERSED_SIGNS = frozenset(_REVERSED.split())


def payloads(text: str) -> Iterator[Payload]:
    """Decode every stretch of a text that is a printable sentence in another encoding; linear in the text."""
    has_long_word = any(len(word) >= _LONG_WORD for word in text.split())
    for encoding in _ENCODINGS:
        if (encoding.needs_long_word and not has_long_word) or not any(
            sign in text for sign in encoding.signs
        ):
            continue
        for match in encoding.pattern.finditer(text):
            start = _start_of_word(text, match.start()) if encoding.name == "percent" else match.start()
            decoded = _decoded(encoding, text[start : match.end()])
            if _is_prose(decoded):
                yield Payload(encoding.name, start, match.end(), decoded)


def whole_text_readings(copy: Copy, distinct: Set[str]) -> Iterator[tuple[str, Copy]]:
    """Read a whole bare copy as rot13 or backwards when two of its distinct words ask for that."""
    if len(_ROT13_SIGNS & distinct) > 1:
        yield "rot13", Copy(codecs.encode(copy.text, "rot13"), copy.origin)
    if len(_REVERSED_SIGNS & distinct) > 1:
        yield "reversed", backwards(copy)


def _start_of_word(text: str, start: int) -> int:
    words = text[max(0, start - _LONGEST_WORD) : start].split()
    return start - len(words[-1]) if words and not text[start - 1].isspace() else start


def _decoded(encoding: _Encoding, written: str) -> str:
    try:
        return encoding.decode(written)
    except (binascii.Error, ValueError, OverflowError):
        return ""


def _is_prose(text: str) -> bool:
    if len(text) < _LEAST_LETTERS or (
        not text.isprintable() and not text.replace("\n", " ").replace("\t", " ").isprintable()
    ):
        return False
    return sum(letter.isalpha() or letter == " " for letter in text) * 5 >= len(text) * 4

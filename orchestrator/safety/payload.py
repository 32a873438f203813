"""Decodes encoded text: base64, base32, base85, hex, binary, Morse, escapes, entities, rot13 and reversal."""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from string import ascii_lowercase
from urllib.parse import unquote

from orchestrator.safety.deobfuscation import MappedText, reversed_text

_MIN_LETTERS = 12
_LONGEST_WORD = 24
_LONG_WORD = 16


@dataclass(frozen=True, slots=True)
class DecodedPayload:
    """Decoded text; `start` and `end` are the span of its encoded form."""

    encoding: str
    start: int
    end: int
    text: str


def _base64(encoded: str) -> str:
    compact = re.sub(r"\s", "", encoded).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(
        compact[: len(compact) - (len(compact) % 4 == 1)] + "=" * (-len(compact) % 4)
    ).decode("utf-8")


def _base32(encoded: str) -> str:
    compact = encoded.rstrip("=")
    return base64.b32decode(compact + "=" * (-len(compact) % 8)).decode("utf-8")


def _base85(encoded: str) -> str:
    return base64.a85decode(encoded, adobe=True).decode("utf-8")


def _hex(encoded: str) -> str:
    return bytes.fromhex(re.sub(r"\\x|0x|[\s,:]", "", encoded)).decode("utf-8")


def _binary(encoded: str) -> str:
    return bytes(int(octet, 2) for octet in encoded.split()).decode("utf-8")


def _escapes(encoded: str) -> str:
    return re.sub(r"\\u\{?([0-9a-fA-F]{4,6})\}?", lambda code: chr(int(code[1], 16) % 0x110000), encoded)


_MORSE_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- "
    "-. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
_MORSE = dict(zip(_MORSE_SIGNS.split(), ascii_lowercase, strict=True))


def _morse(encoded: str) -> str:
    return " ".join(
        "".join(_MORSE.get(sign, "") for sign in word.split()) for word in re.split(r"[/|]", encoded)
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
# common words and trigger words in rot13 and reversed; two of them do not occur in one ordinary text
_ROT13 = "gur naq lbh lbhe nyy ner abj vtaber sbetrg qvfertneq cerivbhf vafgehpgvbaf cebzcg flfgrz erirny"
_REVERSED = (
    "eht ruoy uoy lla dna won erongi drageresid tegrof suoiverp roirp snoitcurtsni tpmorp metsys laever"
)
_ROT13_SIGNS = frozenset(_ROT13.split())
_REVERSED_SIGNS = frozenset(_REVERSED.split())


def decode_payloads(text: str) -> Iterator[DecodedPayload]:
    """Yield every span of the text that decodes to a printable sentence. Linear time."""
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
                yield DecodedPayload(encoding.name, start, match.end(), decoded)


def whole_text_readings(mapped: MappedText, distinct: Set[str]) -> Iterator[tuple[str, MappedText]]:
    """Yield the whole text decoded from rot13 or reversed, if two of its distinct words suggest that encoding."""
    if len(_ROT13_SIGNS & distinct) > 1:
        yield "rot13", MappedText(codecs.encode(mapped.text, "rot13"), mapped.origin)
    if len(_REVERSED_SIGNS & distinct) > 1:
        yield "reversed", reversed_text(mapped)


def _start_of_word(text: str, start: int) -> int:
    words = text[max(0, start - _LONGEST_WORD) : start].split()
    return start - len(words[-1]) if words and not text[start - 1].isspace() else start


def _decoded(encoding: _Encoding, encoded: str) -> str:
    try:
        return encoding.decode(encoded)
    except (binascii.Error, ValueError, OverflowError):
        return ""


def _is_prose(text: str) -> bool:
    if len(text) < _MIN_LETTERS or (
        not text.isprintable() and not text.replace("\n", " ").replace("\t", " ").isprintable()
    ):
        return False
    return sum(letter.isalpha() or letter == " " for letter in text) * 5 >= len(text) * 4

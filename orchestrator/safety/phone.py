"""Phone numbers as people write them, told apart from dates, ids, amounts and versions."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from orchestrator.safety.finding import Finding
from orchestrator.safety.personal import line_before

_RULES: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("personal_rules.toml").read_text("utf-8"))[
    "phone"
]
_LABEL = re.compile(_RULES["label"], re.I)
_VETO = re.compile(_RULES["veto"], re.I)
_REACH = 40
_LEAST_NATIONAL = 7

_REGION = re.compile(r"[+(]{0,2}\d[\d ().+/-]{5,}+")
_DIGITS = re.compile(r"\d+")
_INTERNATIONAL = re.compile(r"\(?(?:\+|(?<![\d.-])00)(?=[1-9])[\d ().\-/]{6,24}")
_ACCESS_CODE = re.compile(r"^\(?00")
_EXTENSION = re.compile(r" ?(?:x|ext\.?|extension|#|;ext=) ?\d{1,6}(?!\w)", re.I)
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ]?(?:0\d|1[0-2])(?:[-./ ]?[0-3]\d)?(?:\D|$)|"
    r"[0-3]?\d[-./][01]?\d[-./](?:19|20)?\d\d(?!\d)"
)
_JOINED_BEFORE = re.compile(r"(?:[\w=?&#$€£¥%*@^]|\d[-./,:+]|[\w)]/|[^\W\d]-)$")
_JOINED_AFTER = re.compile(r"[^\W_]|[-./,:]\d|%|\)?[-/]\w")


@dataclass(frozen=True, slots=True)
class _Shape:
    name: str
    pattern: re.Pattern[str]
    sign: str
    digits: range
    score: float
    labelled: bool


def _shapes() -> Iterator[_Shape]:
    for shape in _RULES["shape"]:
        fewest, _, most = shape["digits"].partition("-")
        yield _Shape(
            name=shape["name"],
            pattern=re.compile(shape["pattern"]),
            sign=shape.get("sign", ""),
            digits=range(int(fewest), int(most) + 1),
            score=shape["score"],
            labelled=shape["labelled"],
        )


_SHAPES = tuple(_shapes())


def find_phones(text: str) -> Iterator[Finding]:
    """Find phone numbers in a plain copy of a text; findings may overlap."""
    for region in _REGION.finditer(text):
        start, end = region.span()
        yield from _international(text, start, end)
        for shape in _shapes_for(text, start, end):
            for match in shape.pattern.finditer(text, start, end):
                if _is_phone(text, *match.span(), shape=shape):
                    yield _finding(text, *match.span(), score=shape.score, evidence=shape.name)


def _shapes_for(text: str, start: int, end: int) -> Iterator[_Shape]:
    """Yield the shapes that a stretch of digits has the digits, the sign and the label for."""
    written = text[start:end]
    count = sum(map(str.isdigit, written))
    for shape in _SHAPES:
        if (
            count >= shape.digits.start
            and shape.sign in written
            and (not shape.labelled or _may_be_labelled(text, start))
        ):
            yield shape


def _may_be_labelled(text: str, start: int) -> bool:
    is_assigned = "=" in text[max(0, start - 3) : start]
    return is_assigned or _LABEL.search(line_before(text, start, reach=_REACH)) is not None


def _international(text: str, start: int, end: int) -> Iterator[Finding]:
    for match in _INTERNATIONAL.finditer(text, start, end):
        if _JOINED_BEFORE.search(text, max(0, match.start() - 2), match.start()):
            continue
        has_sign = match[0].lstrip("(").startswith("+")
        if not has_sign and not _LABEL.search(line_before(text, match.start(), reach=_REACH)):
            continue
        stop = _end_of_international(text, *match.span())
        if stop is not None and not _joined_after(text, stop):
            yield _finding(text, match.start(), stop, score=0.9, evidence="international")


def _end_of_international(text: str, start: int, end: int) -> int | None:
    """Return where the longest number in use ends, or else the longest that its country could give out."""
    possible = None
    for stop in reversed([group.end() for group in _DIGITS.finditer(text, start, end)]):
        standing = _standing(text[start:stop])
        if standing == "valid":
            return stop
        if standing == "possible" and possible is None:
            possible = stop
    return possible


def _standing(written: str) -> Literal["valid", "possible"] | None:
    """Ask Google's libphonenumber: is it of a range in use, or has it at least a length that its country gives?"""
    # 50 ms and 7 MiB, which texts without such a number don't pay
    import phonenumbers  # noqa: PLC0415

    try:
        number = phonenumbers.parse(_ACCESS_CODE.sub("+", written))
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_valid_number(number):
        return "valid"
    # some countries once gave out numbers of four digits, and an amount or a score has as many
    is_long = len(phonenumbers.national_significant_number(number)) >= _LEAST_NATIONAL
    fits = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return "possible" if is_long and fits else None


def _is_phone(text: str, start: int, end: int, *, shape: _Shape) -> bool:
    written = text[start:end]
    groups = _DIGITS.findall(written)
    if sum(map(len, groups)) not in shape.digits or _DATE.match(written) or _is_sequence(groups):
        return False
    if (
        _JOINED_BEFORE.search(text, max(0, start - 2), start)
        and text[max(0, start - 4) : start].lower() != "tel:"
    ):
        return _is_field(text, start) and not _joined_after(text, end)
    if _joined_after(text, end):
        return False
    before = line_before(text, start, reach=_REACH)
    return _is_labelled(before) or (not shape.labelled and not _VETO.search(before))


def _is_labelled(before: str) -> bool:
    labels = list(_LABEL.finditer(before))
    if not labels:
        return False
    between = before[labels[-1].end() :]
    return not re.search(r"[\d;.!?](?:\s|$)|\d", between) and not _FOREIGN_NUMBER.search(between)


_FOREIGN_NUMBER = re.compile(
    r"\b(?:ids?|order|invoice|ticket|case|ref|sku|serial|account|tracking|version|build|isbn|port|returned|took)\b",
    re.I,
)
_FIELD = re.compile(r"(?:phone|mobile|tel|cell|fax|msisdn)(?:_?(?:number|no))?[\"']?=[\"']?\+?$", re.I)


def _is_field(text: str, start: int) -> bool:
    return _FIELD.search(text, max(0, start - 24), start) is not None


def _is_sequence(groups: list[str]) -> bool:
    """Tell lists such as 01 02 03 04 05."""
    if len(groups) < 4:
        return False
    numbers = [int(group) for group in groups]
    return len({right - left for left, right in pairwise(numbers)}) == 1


def _joined_after(text: str, end: int) -> bool:
    return _JOINED_AFTER.match(text, end) is not None and _EXTENSION.match(text, end) is None


def _finding(text: str, start: int, end: int, *, score: float, evidence: str) -> Finding:
    extension = _EXTENSION.match(text, end)
    return Finding("pii.phone", start, extension.end() if extension else end, score, (evidence,))

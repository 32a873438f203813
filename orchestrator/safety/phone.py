"""Phone numbers as people write them, told apart from dates, ids, amounts and versions."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.safety.finding import Finding
from orchestrator.safety.personal import line_before

_RULES: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("personal_rules.toml").read_text("utf-8"))[
    "phone"
]
_LABEL = re.compile(_RULES["label"], re.I)
_VETO = re.compile(_RULES["veto"], re.I)
_REACH = 40
_CALLING_CODES: Mapping[str, range] = {
    code: range(int(span.partition("-")[0]), int(span.partition("-")[2]) + 1)
    for span, codes in _RULES["calling_codes"].items()
    for code in codes
}

_REGION = re.compile(r"[+(]{0,2}\d[\d ().+/-]{5,}+")
_DIGITS = re.compile(r"\d+")
_INTERNATIONAL = re.compile(r"\(?(?:\+|(?<![\d.-])00)(?=[1-9])[\d ().\-/]{6,24}")
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
        stop = _end_of_international(text, *match.span())
        if stop is None or _JOINED_BEFORE.search(text, max(0, match.start() - 2), match.start()):
            continue
        if match[0].lstrip("(").startswith("+") or _LABEL.search(
            line_before(text, match.start(), reach=_REACH)
        ):
            yield _finding(text, match.start(), stop, score=0.9, evidence="international")


def _end_of_international(text: str, start: int, end: int) -> int | None:
    """Return where the longest possible number ends, by its country's count of digits."""
    digits = ""
    stop = None
    for group in _DIGITS.finditer(text, start, end):
        national_zero = group[0] == "0" and text[group.start() - 1] == "(" and digits
        digits += "" if national_zero else group[0]
        number = digits.removeprefix("00") if text[start : start + 2] == "00" else digits
        code = next((number[:size] for size in (1, 2, 3) if number[:size] in _CALLING_CODES), None)
        if code is not None and len(number) - len(code) in _CALLING_CODES[code]:
            stop = group.end()
    if stop is None or _joined_after(text, stop):
        return None
    return stop


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

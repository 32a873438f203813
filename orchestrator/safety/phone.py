"""Finds phone numbers, and rejects dates, ids, amounts and versions that look alike."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from orchestrator.safety.finding import SafetyFinding
from orchestrator.safety.personal_data import line_before

_RULES: Mapping[str, Any] = tomllib.loads(
    Path(__file__).with_name("personal_data_rules.toml").read_text("utf-8")
)["phone"]
_LABEL = re.compile(_RULES["label"], re.I)
_VETO = re.compile(_RULES["veto"], re.I)
_REACH = 40
_MIN_NATIONAL = 7

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
class _Format:
    name: str
    pattern: re.Pattern[str]
    sign: str
    digits: range
    score: float
    labelled: bool


def _formats() -> Iterator[_Format]:
    for form in _RULES["shape"]:
        fewest, _, most = form["digits"].partition("-")
        yield _Format(
            name=form["name"],
            pattern=re.compile(form["pattern"]),
            sign=form.get("sign", ""),
            digits=range(int(fewest), int(most) + 1),
            score=form["score"],
            labelled=form["labelled"],
        )


_FORMATS = tuple(_formats())


def find_phones(text: str) -> Iterator[SafetyFinding]:
    """Yield the phone numbers of a normalized text; findings may overlap."""
    for region in _REGION.finditer(text):
        start, end = region.span()
        yield from _international(text, start, end)
        for form in _formats_for(text, start, end):
            for match in form.pattern.finditer(text, start, end):
                if _is_phone(text, *match.span(), form=form):
                    yield _finding(text, *match.span(), score=form.score, evidence=form.name)


def _formats_for(text: str, start: int, end: int) -> Iterator[_Format]:
    """Yield the number formats whose digit count, sign and label fit the span."""
    matched = text[start:end]
    count = sum(map(str.isdigit, matched))
    for form in _FORMATS:
        if (
            count >= form.digits.start
            and form.sign in matched
            and (not form.labelled or _may_be_labelled(text, start))
        ):
            yield form


def _may_be_labelled(text: str, start: int) -> bool:
    is_assigned = "=" in text[max(0, start - 3) : start]
    return is_assigned or _LABEL.search(line_before(text, start, reach=_REACH)) is not None


def _international(text: str, start: int, end: int) -> Iterator[SafetyFinding]:
    for match in _INTERNATIONAL.finditer(text, start, end):
        if _JOINED_BEFORE.search(text, max(0, match.start() - 2), match.start()):
            continue
        has_sign = match[0].lstrip("(").startswith("+")
        if not has_sign and not _LABEL.search(line_before(text, match.start(), reach=_REACH)):
            continue
        stop = _end_of_international(text, *match.span())
        if stop is not None and not _is_joined_after(text, stop):
            yield _finding(text, match.start(), stop, score=0.9, evidence="international")


def _end_of_international(text: str, start: int, end: int) -> int | None:
    """Return the end of the longest valid number, else of the longest possible number; None if there is neither."""
    possible = None
    for stop in reversed([group.end() for group in _DIGITS.finditer(text, start, end)]):
        validity = _validity(text[start:stop])
        if validity == "valid":
            return stop
        if validity == "possible" and possible is None:
            possible = stop
    return possible


def _validity(matched: str) -> Literal["valid", "possible"] | None:
    """Return libphonenumber's verdict: valid (an assigned range), possible (a length its country uses) or None."""
    # the import takes 50 ms and 7 MiB; only texts with such a number need it
    import phonenumbers  # noqa: PLC0415

    try:
        number = phonenumbers.parse(_ACCESS_CODE.sub("+", matched))
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_valid_number(number):
        return "valid"
    # some countries once assigned four-digit numbers, which amounts and scores match too
    is_long = len(phonenumbers.national_significant_number(number)) >= _MIN_NATIONAL
    fits = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return "possible" if is_long and fits else None


def _is_phone(text: str, start: int, end: int, *, form: _Format) -> bool:
    matched = text[start:end]
    groups = _DIGITS.findall(matched)
    if sum(map(len, groups)) not in form.digits or _DATE.match(matched) or _is_sequence(groups):
        return False
    if (
        _JOINED_BEFORE.search(text, max(0, start - 2), start)
        and text[max(0, start - 4) : start].lower() != "tel:"
    ):
        return _is_field(text, start) and not _is_joined_after(text, end)
    if _is_joined_after(text, end):
        return False
    before = line_before(text, start, reach=_REACH)
    return _is_labelled(before) or (not form.labelled and not _VETO.search(before))


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
    """Return whether the groups are an arithmetic sequence such as 01 02 03 04 05."""
    if len(groups) < 4:
        return False
    numbers = [int(group) for group in groups]
    return len({right - left for left, right in pairwise(numbers)}) == 1


def _is_joined_after(text: str, end: int) -> bool:
    return _JOINED_AFTER.match(text, end) is not None and _EXTENSION.match(text, end) is None


def _finding(text: str, start: int, end: int, *, score: float, evidence: str) -> SafetyFinding:
    extension = _EXTENSION.match(text, end)
    return SafetyFinding("pii.phone", start, extension.end() if extension else end, score, (evidence,))

"""Finds personal data: payment cards, IBANs, US social security numbers, e-mail and IP addresses."""

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase, digits
from typing import Any

from orchestrator.safety.finding import SafetyFinding
from orchestrator.safety.keyword_windows import finditer_near, lower_same_length

_RULES: Mapping[str, Any] = tomllib.loads(
    Path(__file__).with_name("personal_data_rules.toml").read_text("utf-8")
)
_LABEL_REACH = 48
_MAX_GROUPS = 8
_SHORTEST_CARD = 12
_CLOSE = 200

_NUMBERS = re.compile(r"\d[\d .-]{6,}+")
# three patterns start with the digit and look behind it, because re skips quickly to a literal first character
# no possessive repetition of the group: up to Python 3.11.4 it fails where the group itself backtracks (gh-106052)
_DIGIT_RUN = re.compile(r"\d(?<![^\W_]\d)(?<!\d\.\d)\d*+(?:(?: ?[-.] ?| {1,2})\d++)*(?=(?P<letter>[^\W_])?)")
_DIGITS = re.compile(r"\d+")
_CARD_LABEL = re.compile(_RULES["card"]["label"], re.I)
_CARD_VETO = re.compile(_RULES["card"]["veto"], re.I)
_CARD_GROUPINGS = frozenset(tuple(map(int, grouping.split("-"))) for grouping in _RULES["card"]["groupings"])
# two groups joined by a point are a decimal fraction
_CARD_SEPARATORS = (({""}, {"-"}), ({""}, {"-"}, {"."}))
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2} ?\d{2}(?=(?:[ .-]?[A-Za-z0-9]){11})")
_IBAN_FORMS = {
    country: re.compile("".join(f"[{_class}]{{{size}}}" for size, _class in parts))
    for country, form in _RULES["iban"].items()
    for parts in [
        [
            (int(n), {"n": "0-9", "a": "A-Z", "c": "A-Z0-9"}[c])
            for n, c in re.findall(r"(\d{1,2})([nac])", form)
        ]
    ]
}
_IBAN_LENGTHS = {
    country: 4 + sum(int(size) for size in re.findall(r"\d{1,2}", form))
    for country, form in _RULES["iban"].items()
}
_SOLID = str.maketrans("", "", " .-")
_AS_NUMBERS = {ord(letter): str(int(letter, 36)) for letter in ascii_uppercase}
_IBAN_LETTERS = {
    length: re.compile(rf"(?:[^\W_][ .-]?){{{length - 1}}}[^\W_](?![^\W_])")
    for length in set(_IBAN_LENGTHS.values())
}

_SSN = re.compile(r"\d(?<![^\W_]\d)(?<!\d[-./]\d)\d\d([- .]?)(\d{2})\1(\d{4})(?![^\W_]|[-./]\d)")
_SSN_LABEL = re.compile(_RULES["ssn"]["label"], re.I)
_SSN_VETO = re.compile(_RULES["ssn"]["veto"], re.I)

_IPV4 = re.compile(r"\d(?<![\w.]\d)\d{0,2}(?:\.\d{1,3}){3}(?![^\W_]|\.\d)")
_IPV6 = re.compile(
    r"(?<![^\W_])(?<![:.])(?=[0-9A-Fa-f]{0,4}:)"
    r"(?:(?:[0-9A-Fa-f]{0,4}:){2,7}\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{2,39}+)(?![\w:])"
)
_IP_LABEL = re.compile(_RULES["ip"]["label"], re.I)
_IP_VETO = re.compile(_RULES["ip"]["veto"], re.I)
_IP_SMALL_VETO = re.compile(_RULES["ip"]["small_veto"])
_SMALL_PARTS = re.compile(r"[1-9](?:\.[0-4]?\d){3}")
_MASK_LABEL = re.compile(_RULES["ip"]["mask_label"], re.I)
_VERSION_BEFORE = re.compile(r"(?:[A-Za-z)]/|[A-Za-z_][-_]|[=~<>^]=?\s?|\d\.\d{1,4}-)$")
_ADDRESS_BEFORE = re.compile(r"(?:\w{2}=|[a-z]=)$", re.I)
_VERSION_AFTER = re.compile(
    r"[-+._]?(?:alpha|beta|rc\d|snapshot|dev\d|preview|nightly|final|post\d)|[-+][a-f0-9]{7,}|"
    r" (?:release|version|build|update)\b|"
    r"\.(?:tar|tgz|zip|jar|whl|exe|msi|dmg|deb|rpm|dll|so|nupkg|gem|apk|iso|img|pdf)\b",
    re.I,
)
_MAC_OR_GUID = re.compile(r"(?:[0-9A-Fa-f]{2}:){5,}[0-9A-Fa-f]{2}")
_ROUTABLE_IPV6 = re.compile(r"[23f][0-9a-f]{2,3}:", re.I)

_AT = re.compile(
    r"(?<![\w.!#$%&'*+?^`{|}~-])(?P<local>[\w.!#$%&'*+?^`{|}~-]{1,64}+)@(?P<domain>(?:[^\W_](?:[\w-]{0,62})\.){1,8}[^\W\d_]{2,24})"
    r"(?![\w@(-]|\.[^\W_])"
)
_SPELT_KEYS = ("(at)", "[at]", "{at}", "<at>", "( at )", "[ at ]", "(@)", "[@]", "[dot]", "(dot)", "{dot}")
_SPELT_AT = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}+ ?(?:[\[({<] ?(?:at|@) ?[\])}>]|@) ?[\w-]{1,63}"
    r"(?: ?(?:[\[({<] ?(?:dot|\.|punkt|punto) ?[\])}>]|\.) ?[A-Za-z][\w-]{1,62}){1,4}(?![\w-])",
    re.I,
)
_SPOKEN_KEYS = (" dot ",)
_SPOKEN_AT = re.compile(
    r"(?<![\w.+-])[\w.+-]{2,64}+ at [\w-]{2,63}(?: dot [\w-]{2,63}){0,2} dot "
    r"(?:com|org|net|edu|gov|io|co|uk|de|fr|me|dev|ai)\b",
    re.I,
)
_RETINA_IMAGE = re.compile(r"\d{1,2}x\.\w+$")
_NOT_MAILBOXES = frozenset({"git", "hg", "svn", "gitlab", "ssh"})


@dataclass(frozen=True, slots=True)
class _Issuer:
    name: str
    low: str
    high: str
    lengths: frozenset[int]
    labelled: frozenset[int]

    def issues(self, digits: str) -> bool:
        return (
            self.low <= digits[: len(self.low)] <= self.high and len(digits) in self.lengths | self.labelled
        )


def _issuers() -> Iterator[_Issuer]:
    for issuer in _RULES["card"]["issuer"]:
        for span in issuer["ranges"]:
            low, _, high = span.partition("-")
            yield _Issuer(
                name=issuer["name"],
                low=low,
                high=high or low,
                lengths=frozenset(issuer["lengths"]),
                labelled=frozenset(issuer["labelled"]),
            )


_ISSUERS = tuple(_issuers())
_ISSUERS_BY_DIGIT = {
    digit: tuple(issuer for issuer in _ISSUERS if issuer.low[0] <= digit <= issuer.high[0])
    for digit in digits
}


def find_personal_data(text: str) -> Iterator[SafetyFinding]:
    """Yield the personal data, except phone numbers, of a normalized text; findings may overlap."""
    for start, end in _numbers(text):
        yield from _cards(text, start, end)
        yield from _ssns(text, start, end)
        yield from _ipv4s(text, start, end)
    yield from _ibans(text)
    if text.count(":") > 1:
        yield from _ipv6s(text)
    yield from _emails(text)


def line_before(text: str, start: int, *, reach: int = _LABEL_REACH) -> str:
    """Return the text before `start` on the same line, at most `reach` characters."""
    window = text[max(0, start - reach) : start]
    return window[window.rfind("\n") + 1 :]


def _numbers(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans that contain long numbers; numbers close to each other share one span."""
    start = end = -1
    for numbers in _NUMBERS.finditer(text):
        if numbers.start() - end > _CLOSE:
            if end >= 0:
                yield start, end
            start = numbers.start()
        # two characters more, for what must not follow a number
        end = min(len(text), numbers.end() + 2)
    if end >= 0:
        yield start, end


def _cards(text: str, start: int, end: int) -> Iterator[SafetyFinding]:
    for run in _DIGIT_RUN.finditer(text, start, end):
        # a run that a letter follows contains no card: skip it as a whole instead of trying each of its groups
        if run["letter"] is None and run.end() - run.start() >= _SHORTEST_CARD:
            yield from _cards_in_run(text, [group.span() for group in _DIGITS.finditer(text, *run.span())])


def _cards_in_run(text: str, groups: Sequence[tuple[int, int]]) -> Iterator[SafetyFinding]:
    first = 0
    while first < len(groups):
        last = _card_end(text, groups, first)
        if last is not None:
            start, end = groups[first][0], groups[last][1]
            yield SafetyFinding("pii.card", start, end, 0.95)
            first = last
        first += 1


def _card_end(text: str, groups: Sequence[tuple[int, int]], first: int) -> int | None:
    digits = ""
    if groups[first][1] - groups[first][0] < 2:
        return None
    for last in range(first, min(first + _MAX_GROUPS, len(groups))):
        digits += text[slice(*groups[last])]
        if len(digits) > 19:
            return None
        if len(digits) >= _SHORTEST_CARD and _is_card(text, groups[first : last + 1], digits):
            return last
    return None


def _is_card(text: str, groups: Sequence[tuple[int, int]], digits: str) -> bool:
    issuers = [issuer for issuer in _ISSUERS_BY_DIGIT[digits[0]] if issuer.issues(digits)]
    if not issuers or not _passes_luhn(digits):
        return False
    before = line_before(text, groups[0][0])
    if _CARD_VETO.search(before) or (len(groups) == 1 and _is_fraction(text, *groups[0])):
        return False
    separators = {text[left[1] : right[0]].strip() for left, right in pairwise(groups)}
    sizes = tuple(end - start for start, end in groups)
    as_printed = len(groups) == 1 or (
        sizes in _CARD_GROUPINGS and separators in _CARD_SEPARATORS[len(sizes) > 2]
    )
    return (as_printed and any(len(digits) in issuer.lengths for issuer in issuers)) or _CARD_LABEL.search(
        before
    ) is not None


def _is_fraction(text: str, start: int, end: int) -> bool:
    leads = text[max(0, start - 2) : start]
    trails = text[end : end + 2]
    return (leads[-1:] == "." and leads[:1].isdigit()) or (trails[:1] == "." and trails[1:].isdigit())


def _passes_luhn(digits: str) -> bool:
    """Check the Luhn digit (ISO/IEC 7812-1 annex B)."""
    values = [ord(digit) - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def _ibans(text: str) -> Iterator[SafetyFinding]:
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[0][:2].upper())
        if length is None:
            continue
        matched = _IBAN_LETTERS[length].match(text, match.start())
        if matched and _is_iban(matched[0]):
            yield SafetyFinding("pii.iban", *matched.span(), 0.98)


def _is_iban(matched: str) -> bool:
    """Check the country, the format of the BBAN and the mod 97 check digits (ISO 13616, ISO 7064)."""
    code = matched.translate(_SOLID).upper()
    if not code.isascii() or not _IBAN_FORMS[code[:2]].fullmatch(code[4:]):
        return False
    return int((code[4:] + code[:4]).translate(_AS_NUMBERS)) % 97 == 1


def _ssns(text: str, start: int, end: int) -> Iterator[SafetyFinding]:
    for match in _SSN.finditer(text, start, end):
        area, (separator, group, serial) = match[0][:3], match.groups()
        if area in {"000", "666"} or area >= "900" or group == "00" or serial == "0000":
            continue
        before = line_before(text, match.start())
        labelled = _SSN_LABEL.search(before) is not None
        if labelled or (separator == "-" and not _SSN_VETO.search(before)):
            yield SafetyFinding("pii.ssn", *match.span(), 0.95 if labelled else 0.8)


def _ipv4s(text: str, start: int, end: int) -> Iterator[SafetyFinding]:
    for match in _IPV4.finditer(text, start, end):
        before = line_before(text, match.start())
        address = _parsed(ipaddress.IPv4Address, match[0])
        if address is None or _identifies_nobody(address) or _MASK_LABEL.search(before):
            continue
        labelled = _IP_LABEL.search(before) is not None or before.endswith("://")
        if labelled or not _looks_like_version(text, *match.span(), before=before):
            yield SafetyFinding("pii.ip", *match.span(), 0.95 if labelled else 0.75)


def _looks_like_version(text: str, start: int, end: int, *, before: str) -> bool:
    if _IP_VETO.search(before) or _VERSION_AFTER.match(text, end):
        return True
    if _SMALL_PARTS.fullmatch(text, start, end) and _IP_SMALL_VETO.search(text, max(0, start - 24), start):
        return True
    return _VERSION_BEFORE.search(before) is not None and not _ADDRESS_BEFORE.search(before)


def _ipv6s(text: str) -> Iterator[SafetyFinding]:
    for match in _IPV6.finditer(text):
        matched = match[0]
        if matched.endswith(":") and not matched.endswith("::"):
            matched = matched[:-1]
        address = _parsed(ipaddress.IPv6Address, matched) if matched.count(":") > 1 else None
        if address is None or _identifies_nobody(address) or _MAC_OR_GUID.fullmatch(matched):
            continue
        groups = sum(1 for group in matched.split(":") if group)
        if groups > 2 or "." in matched or _ROUTABLE_IPV6.match(matched):
            yield SafetyFinding("pii.ip", match.start(), match.start() + len(matched), 0.9)


def _parsed(
    kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], matched: str
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return kind(matched)
    except ValueError:
        return None


def _identifies_nobody(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether the address identifies nobody: loopback, unspecified, 0.x or a netmask."""
    if address.is_loopback or address.is_unspecified:
        return True
    width = 32 if address.version == 4 else 128
    number = int(address)
    inverse = ~number & ((1 << width) - 1)
    is_mask = number >> (width - 8) == 0xFF and inverse & (inverse + 1) == 0
    return is_mask or (address.version == 4 and number < 1 << 24)


def _emails(text: str) -> Iterator[SafetyFinding]:
    if "@" in text:
        for match in _AT.finditer(text):
            if _is_mailbox(text, match):
                start = match.start() + len(match["local"]) - len(match["local"].lstrip(".'*`"))
                yield SafetyFinding("pii.email", start, match.end(), 0.95)
    lowered = lower_same_length(text)
    for keys, pattern in ((_SPELT_KEYS, _SPELT_AT), (_SPOKEN_KEYS, _SPOKEN_AT)):
        for match in finditer_near(text, lowered, keys, pattern):
            yield SafetyFinding("pii.email", *match.span(), 0.8)


def _is_mailbox(text: str, match: re.Match[str]) -> bool:
    local, domain = match["local"].lstrip(".'*`"), match["domain"]
    if (
        not local
        or local.endswith(".")
        or re.search(r"[^.]\.\.[^.]", local)
        or "-." in domain
        or ".-" in domain
    ):
        return False
    if (
        local.lower() in _NOT_MAILBOXES
        or _RETINA_IMAGE.match(domain)
        or (domain[0].isdigit() and domain[1:2] == ".")
    ):
        return False
    return not text[max(0, match.start() - 3) : match.start()].endswith("://")

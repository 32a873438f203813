"""Finds secrets: keys in formats that vendors publish, private keys, and values assigned to names such as password."""

import base64
import binascii
import math
import re
import tomllib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from orchestrator.safety.finding import SafetyFinding
from orchestrator.safety.keyword_windows import finditer_near, lower_same_length

_RULES: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("secret_rules.toml").read_text("utf-8"))

_WORDS = frozenset(_RULES["placeholder"]["words"])
_WORD = re.compile(r"[a-z]+|\d+", re.I)
_FILLER = re.compile(r"[xX*.•…#?_-]{5,}|0{8,}|[xX]{3,}$|\.\.\.|…|^(?:x+|\*+|\.+|-+|_+|#+)$")
_REFERENCE = re.compile(
    r"<|\$(?:\w+$|[{(])|%(?:\(|s$|[A-Z_]+%$)|@[\w.]+\(|\{\{|\{%|\{[\w.]*\}|\[[\w ,.-]*\]?$|\(|\\[nrt]|!\w+ |"
    r"(?:os|process|env|config|settings?|self|this|args|options|opts|params|secrets|vars|var|data|local|module|"
    r"request|req|ctx|context|app|cfg|conf|props|state|user|st|System)[.\[(]|[A-Za-z_][\w.]*[(\[]|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+;?$|"
    r"(?:vault|ssm|arn|env|secret|secretref|file|projects|https?|s3|gs|op)[:/]|[./~]{0,2}/[\w.-]+/|=",
    re.I,
)

_PEM_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s\\\"',:()-]|\\[nr])*+")
_KEY_LETTERS = re.compile(r"[A-Za-z0-9+/]{8,}")
_PUTTY = re.compile(r"Private-Lines: \d{1,3}\r?\n(?P<v>(?:[A-Za-z0-9+/=]{1,80}\r?\n?){1,64})")

_NAME = re.compile(
    f"(?P<password>{_RULES['assignment']['password']})|(?P<random>{_RULES['assignment']['random']})"
)
_NAME_KEYS = (
    "pass",
    "pwd",
    "contrase",
    "mot de",
    "mot_de",
    "密码",
    "пароль",
    "secret",
    "token",
    "cred",
    "key",
    "auth",
)
_NOT_BEFORE = re.compile(_RULES["assignment"]["not_before"], re.I)
_NOT_AFTER = re.compile(_RULES["assignment"]["not_after"], re.I)
_ASSIGNED = re.compile(
    r"(?P<rest>[A-Za-z0-9_-]{0,32}+)(?:[\"'\]`*)]{0,3})\s{0,4}(?:(?P<sign>:=|=>|==?|:(?!:))|"
    r"(?P<prose> (?:is|was|are|to):? ))\s{0,4}"
    r"(?P<kind>str\s{0,2}=\s{0,2}|String\s{0,2}=\s{0,2})?"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\n\x00]{3,512})(?=[\"'`])|(?P<naked>[^\s\"'`,;<>\x00|]{3,256}))"
)
_NEAR = 120
_NAME_REACH = 32
_CLOSERS = ")]}.:\\"
_LONG_VALUE = 64
_CLOSED_KEY = 8
_OPEN_KEY = 40
_MIN_TOKEN = 20


_HEAD = re.compile(r"(?:[A-Za-z0-9_-]|\[[^]\\^]+\])+(?![?*+{])")


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    keys: tuple[str, ...]
    pattern: re.Pattern[str]
    near: re.Pattern[str] | None
    entropy: float
    mixed: bool
    is_password: bool
    spaced: bool


def _compiled(rule: Mapping[str, Any]) -> _Rule:
    pattern = rule["pattern"]
    if not rule.get("open", False):
        # the literal head precedes the lookbehind, because re skips quickly to a literal first character only
        head = sure[0] if (sure := _HEAD.match(pattern)) else ""
        pattern = rf"{head}(?<![A-Za-z0-9]{head})(?:{pattern[len(head) :]})(?![A-Za-z0-9])"
    return _Rule(
        name=rule["name"],
        keys=tuple(rule["keys"]),
        pattern=re.compile(pattern),
        near=re.compile(rule["near"]) if "near" in rule else None,
        entropy=rule.get("entropy", 0.0),
        mixed=rule.get("mixed", False),
        is_password=rule.get("value") == "password",
        spaced=rule.get("spaced", False),
    )


_VENDORS = tuple(_compiled(rule) for rule in _RULES["rule"])
_SPACED = tuple(rule for rule in _VENDORS if rule.spaced)


def find_secrets(text: str) -> Iterator[SafetyFinding]:
    """Yield the secrets of a normalized text; findings may overlap."""
    lowered = lower_same_length(text)
    long_words = " ".join([word for word in lowered.split() if len(word) >= _MIN_TOKEN])
    for rule in _VENDORS if long_words else _SPACED:
        sought = lowered if rule.spaced else long_words
        for key in rule.keys:
            if key in sought:
                yield from _vendor_secrets(text, rule)
                break
    if "PRIVATE KEY" in text or "Private-Lines" in text:
        yield from _private_keys(text)
    yield from _assignments(text, lowered)


def entropy(value: str) -> float:
    """Return the Shannon entropy of a string in bits per character."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values())


def _vendor_secrets(text: str, rule: _Rule) -> Iterator[SafetyFinding]:
    group = "v" if "v" in rule.pattern.groupindex else 0
    accepts = _CHECKS.get(rule.name, _is_genuine)
    for match in rule.pattern.finditer(text):
        value = match[group]
        if rule.near and not rule.near.search(text, max(0, match.start() - _NEAR), match.start()):
            continue
        if rule.is_password:
            genuine = _is_password(value)
        else:
            genuine = (
                entropy(value) >= rule.entropy and (not rule.mixed or _looks_random(value)) and accepts(value)
            )
        if genuine:
            yield SafetyFinding(f"secret.{rule.name}", *match.span(group), 0.95)


def _is_genuine(value: str) -> bool:
    return not _FILLER.search(value) and not _is_made_of_placeholders(value)


def _is_basic_auth(value: str) -> bool:
    decoded = _from_base64(value)
    name, colon, password = decoded.partition(":")
    return bool(colon and name.isprintable() and password.isprintable() and len(password) >= 3)


def _is_jwt(value: str) -> bool:
    return '"' in _from_base64(value.partition(".")[0])


def _from_base64(value: str) -> str:
    padded = value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_" if "-" in value or "_" in value else None).decode(
            "utf-8"
        )
    except (binascii.Error, ValueError):
        return ""


def _is_any(value: str) -> bool:
    return bool(value)


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "basic_auth": _is_basic_auth,
    "jwt": _is_jwt,
    "twitter_bearer": _is_any,
    "firebase": _is_any,
    "password_hash": _is_any,
    "terraform": _is_any,
    "azure_devops": _is_any,
}


def _private_keys(text: str) -> Iterator[SafetyFinding]:
    begins = list(_PEM_BEGIN.finditer(text))
    ends = [match.span() for match in _PEM_END.finditer(text)]
    for begin, following in zip_longest(begins, begins[1:]):
        limit = following.start() if following else len(text)
        index = bisect_left(ends, (begin.end(), 0))
        closing = ends[index] if index < len(ends) and ends[index][1] <= limit else None
        stop = _end_of_body(text, begin.end(), limit, closing=closing)
        if stop is not None:
            yield SafetyFinding("secret.private_key", begin.start(), stop, 0.99)
    for match in _PUTTY.finditer(text):
        yield SafetyFinding("secret.private_key", *match.span("v"), 0.99)


def _end_of_body(text: str, start: int, limit: int, *, closing: tuple[int, int] | None) -> int | None:
    body = _PEM_BODY.match(text, start, limit)
    stop = body.end() if body else start
    is_closed = closing is not None and closing[0] <= stop
    written = text[start : closing[0]] if closing and is_closed else text[start:stop]
    letters = sum(len(run) for run in _KEY_LETTERS.findall(written.replace("\\n", "\n")))
    if letters < (_CLOSED_KEY if is_closed else _OPEN_KEY):
        return None
    return closing[1] if closing and is_closed else start + len(written.rstrip())


def _assignments(text: str, lowered: str) -> Iterator[SafetyFinding]:
    read = 0
    for name in finditer_near(lowered, lowered, _NAME_KEYS, _NAME, reach=_NAME_REACH):
        assigned = _ASSIGNED.match(text, name.end()) if name.start() >= read else None
        if assigned is None or _is_about_the_name(text, name, assigned):
            continue
        group = "quoted" if assigned["quoted"] is not None else "naked"
        start, end = assigned.span(group)
        value = assigned[group]
        if group == "naked":
            value = value.rstrip(_CLOSERS)
            end = start + len(value)
        read = end if len(value) > _LONG_VALUE else 0
        if value and _is_assigned_secret(value, name, assigned):
            kind = "secret.password" if name["password"] else "secret.generic"
            yield SafetyFinding(kind, start, end, 0.85 if assigned["quote"] else 0.75)


def _is_about_the_name(text: str, name: re.Match[str], assigned: re.Match[str]) -> bool:
    if _NOT_AFTER.match(text, name.end()) or _NOT_BEFORE.search(
        text, max(0, name.start() - 16), name.start()
    ):
        return True
    following = text[name.end() : name.end() + 1]
    return following.islower() or (following.isupper() and text[name.end() - 1].isupper())


def _is_assigned_secret(value: str, name: re.Match[str], assigned: re.Match[str]) -> bool:
    if assigned["prose"] and not (_is_strong(value) if name["password"] else _looks_random(value)):
        return False
    if name["random"]:
        return _looks_random(value) and _is_password(value)
    if not _is_password(value):
        return False
    if assigned["quote"]:
        return " " not in value
    written_as_setting = assigned.string[name.start()].isupper() and assigned["sign"] == "="
    return _is_strong(value) or written_as_setting


def _is_password(value: str) -> bool:
    return len(value) >= 4 and not _REFERENCE.match(value) and _is_genuine(value)


def _is_strong(value: str) -> bool:
    kinds = sum((any(map(str.isalpha, value)), any(map(str.isdigit, value)), not value.isalnum()))
    return (
        (kinds > 1 and any(map(str.isdigit, value)) and len(value) >= 5)
        or (value.isdigit() and len(value) >= 6)
        or kinds == 3
    )


def _looks_random(value: str) -> bool:
    """Return whether a value looks generated, and is no word, name or path."""
    if len(value) < 12 or " " in value:
        return False
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    if not letters or not digits:
        return len(value) >= 20 and letters > 0 and _changes_case(value) and entropy(value) >= 3.7
    is_mixed = digits * 16 >= letters or _changes_case(value)
    return is_mixed and entropy(value) >= (3.3 if len(value) >= 20 else 3.0)


def _changes_case(value: str) -> bool:
    changes = sum(left.isupper() != right.isupper() for left, right in pairwise(value))
    return changes * 3 >= len(value)


def _is_made_of_placeholders(value: str) -> bool:
    words = _WORD.findall(value.lower())
    strangers = sum(len(word) for word in words if word not in _WORDS)
    return not words or strangers == 0 or (strangers <= 3 and len(words) > 2 and strangers * 5 < len(value))

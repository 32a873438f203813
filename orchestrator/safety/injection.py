"""Finds prompt injection: scored evidence that a text instructs the model that reads it."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

from orchestrator.safety.deobfuscation import count_tag_letters, normalize_for_words, strip_accents
from orchestrator.safety.finding import SafetyFinding
from orchestrator.safety.keyword_windows import finditer_near, lower_same_length
from orchestrator.safety.payload import decode_payloads, whole_text_readings
from orchestrator.safety.trigger_words import RestoredWords, restore_words

_RULES: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("injection_rules.toml").read_text("utf-8"))
THRESHOLD = 0.5
_REACH = 500
_NESTING = 2
_ENCODED_WEIGHT = 0.3
_SMUGGLED_WEIGHT = 0.45
_RESTORED_WEIGHT = 0.15
_MIN_SMUGGLED = 8

_MENTION = re.compile(_RULES["mention"]["pattern"], re.I)
_MENTION_REACH: int = _RULES["mention"]["reach"]
_MENTION_FACTOR: float = _RULES["mention"]["factor"]
_NEGATION = re.compile(_RULES["mention"]["negation"])
_NEGATION_REACH = 48
_QUOTED_REACH = 40
_QUOTES = frozenset("\"'`“”‘’«»„「」『』")
_SENTENCE_END = re.compile(r"[.!?]\s|\n\s*\n")


@dataclass(frozen=True, slots=True)
class _Key:
    """A phrase that every match of a rule contains: whole words, then the beginning of a word (empty if unknown)."""

    text: str
    whole: frozenset[str]
    beginning: str


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    weight: float
    keys: tuple[_Key, ...]
    pattern: re.Pattern[str]
    reads_raw: bool
    negatable: bool


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    rule: str
    weight: float
    is_doubted: bool = False


def _compiled(rule: Mapping[str, Any]) -> _Rule:
    reads_raw = rule.get("view") == "raw"
    pattern = rule["pattern"]
    for name, part in _RULES["part"].items():
        pattern = pattern.replace(f"{{{name}}}", part)
    flags = re.M if rule.get("case") else re.I | re.M
    keys = tuple(key if reads_raw else strip_accents(key) for key in rule["keys"])
    return _Rule(
        name=rule["name"],
        weight=rule["weight"],
        keys=tuple(_key(key) for key in keys),
        pattern=re.compile(pattern if reads_raw else strip_accents(pattern), flags if reads_raw else 0),
        reads_raw=reads_raw,
        negatable=rule.get("negatable", False),
    )


def _key(text: str) -> _Key:
    if not text.isascii() or text[0] == " ":
        return _Key(text, frozenset(), "")
    *whole, beginning = text.split(" ")
    return _Key(text, frozenset(whole), beginning)


_COMPILED = tuple(_compiled(rule) for rule in _RULES["rule"])
_RAW = tuple((rule, tuple(key.text for key in rule.keys)) for rule in _COMPILED if rule.reads_raw)
_FIRST_LETTERS = 2


def _by_beginning() -> Mapping[str, Sequence[tuple[int, _Key]]]:
    keyed: defaultdict[str, list[tuple[int, _Key]]] = defaultdict(list)
    for index, rule in enumerate(_COMPILED):
        for key in () if rule.reads_raw else rule.keys:
            keyed[key.beginning].append((index, key))
    return keyed


_KEYED = _by_beginning()
_BEGINNINGS = {
    first: tuple(beginnings)
    for first, beginnings in groupby(sorted(_KEYED), key=lambda beginning: beginning[:_FIRST_LETTERS])
}


def find_injections(text: str) -> Iterator[SafetyFinding]:
    """Yield the spans whose score is THRESHOLD (0.5) or more, in order; they never overlap.

    The score of a span is 1 - product(1 - weight) over its distinct rules (noisy-or, Pearl 1988). Only wording is
    examined: an instruction phrased as an ordinary request is not found, so a low score proves nothing.
    """
    hits = sorted(_hits(text, nesting=_NESTING), key=lambda hit: (hit.start, hit.end, hit.rule))
    for cluster in _clusters(hits):
        finding = _weighed(cluster)
        if finding.score >= THRESHOLD:
            yield finding


def _hits(text: str, *, nesting: int) -> Iterator[_Hit]:
    mapped = normalize_for_words(text)
    words = restore_words(mapped)
    yield from _word_hits(text, words)
    yield from _raw_hits(text)
    for name, reading in whole_text_readings(mapped, words.distinct):
        yield from _word_hits(text, restore_words(reading))
        yield _Hit(0, max(1, len(text)), name, _ENCODED_WEIGHT)
    hidden = count_tag_letters(text)
    if hidden >= _MIN_SMUGGLED:
        yield _Hit(0, len(text), "hidden_letters", _SMUGGLED_WEIGHT)
    if nesting:
        yield from _payload_hits(text, nesting=nesting)


def _keys_in(distinct: Set[str]) -> Mapping[int, Sequence[str]]:
    """Return {rule index: keys whose words all occur in the text}."""
    others = {
        beginning
        for word in distinct
        for beginning in _BEGINNINGS.get(word[:_FIRST_LETTERS], ())
        if word.startswith(beginning)
    }
    found: defaultdict[int, list[str]] = defaultdict(list)
    for beginning in others | {""}:
        for index, key in _KEYED[beginning]:
            if key.whole <= distinct:
                found[index].append(key.text)
    return found


def _word_hits(text: str, words: RestoredWords) -> Iterator[_Hit]:
    for index, keys in _keys_in(words.distinct).items():
        rule = _COMPILED[index]
        for match in finditer_near(words.text, words.text, keys, rule.pattern):
            start, end = words.span(*match.span())
            lead = max(0, match.start() - _NEGATION_REACH)
            is_negated = rule.negatable and _NEGATION.search(words.text, lead, match.start())
            yield _hit(start, end, rule=rule, is_doubted=bool(is_negated) or _is_mentioned(text, start, end))


def _raw_hits(text: str) -> Iterator[_Hit]:
    lowered = lower_same_length(text)
    for rule, keys in _RAW:
        for match in finditer_near(text, lowered, keys, rule.pattern):
            yield _hit(*match.span(), rule=rule, is_doubted=_is_mentioned(text, *match.span()))


def _payload_hits(text: str, *, nesting: int) -> Iterator[_Hit]:
    for payload in decode_payloads(text):
        inner = list(_hits(payload.text, nesting=nesting - 1))
        if inner:
            yield _Hit(payload.start, payload.end, payload.encoding, _ENCODED_WEIGHT)
        yield from (_Hit(payload.start, payload.end, hit.rule, hit.weight) for hit in inner)


def _hit(start: int, end: int, *, rule: _Rule, is_doubted: bool) -> _Hit:
    weight = rule.weight * _MENTION_FACTOR if is_doubted else rule.weight
    return _Hit(start, end, rule.name, weight, is_doubted)


def _is_mentioned(text: str, start: int, end: int) -> bool:
    """Return whether a hit is quoted after words about attacks: the text mentions an instruction and gives none."""
    before = text[max(0, start - _MENTION_REACH) : start]
    opening = max(before.rfind(quote) for quote in _QUOTES)
    if opening < 0 or len(before) - opening > _QUOTED_REACH:
        return False
    is_apostrophe = before[opening] in "'’" and before[max(0, opening - 1) : opening].isalnum()
    if is_apostrophe or not any(mark in text[end : end + _MENTION_REACH] for mark in _QUOTES):
        return False
    return _MENTION.search(_SENTENCE_END.split(before[:opening])[-1]) is not None


def _clusters(hits: Sequence[_Hit]) -> Iterator[list[_Hit]]:
    cluster: list[_Hit] = []
    reach = 0
    for hit in hits:
        if cluster and hit.start - reach > _REACH:
            yield cluster
            cluster = []
        reach = max(reach, hit.end) if cluster else hit.end
        cluster.append(hit)
    if cluster:
        yield cluster


def _weighed(cluster: Iterable[_Hit]) -> SafetyFinding:
    strongest: dict[str, _Hit] = {}
    for hit in cluster:
        if hit.rule not in strongest or hit.weight > strongest[hit.rule].weight:
            strongest[hit.rule] = hit
    hits = strongest.values()
    remaining = prod(1 - hit.weight for hit in hits if not hit.is_doubted)
    is_doubted = max((hit.weight for hit in hits if hit.is_doubted), default=0.0)
    return SafetyFinding(
        kind="injection",
        start=min(hit.start for hit in hits),
        end=max(hit.end for hit in hits),
        score=round(1 - remaining * (1 - is_doubted), 4),
        evidence=tuple(sorted(strongest)),
    )

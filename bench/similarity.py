"""Prints keys a second and the two error rates of `canonical_key` on seeded goals with labels known by construction.

Noise keeps the task and must keep the key; a mutation changes the task and must change the key. The guard is counted
on the same mutations: what it lets through costs a call to the judge.
Run `python bench/similarity.py [--count 5000] [--seed 1]`.
"""

import argparse
import random
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from orchestrator.similarity import canonical_key, known_difference

_SLOTS: dict[str, Sequence[str]] = {
    "ip": ["10.0.0.7", "10.0.0.8", "192.168.1.20", "10.0.0.0/24"],
    "host": ["web-1", "web-2", "db.example.com", "cache.example.com"],
    "n": ["2", "3", "12", "90", "1000"],
    "spoken": ["two", "three", "twelve", "ninety", "one thousand"],
    "path": ["src/main.py", "src/Main.py", "/etc/hosts", "tests/unit/test_a.py"],
    "issue": ["#12", "#21", "#120"],
    "cve": ["CVE-2024-3094", "CVE-2024-3049", "CVE-2021-44228"],
    "name": ["getUserName", "getuser_name", "fetchUserName", "USER_NAME"],
    "quote": ['"Good day"', '"good day"', '"Good night"'],
    "language": ["French", "German", "Spanish"],
    "city": ["Paris", "London", "Rome"],
    "unit": ["days", "hours", "weeks"],
    "url": ["https://example.org/A", "https://example.org/a", "http://example.org/A"],
    "version": ["v1.2.3", "v1.2.4", "v1.3.2"],
    "branch": ["feature/login", "feature/logout", "main"],
}
_INTENTS = (
    "list the open ports on {ip}",
    "scan {ip} for {cve}",
    "restart the service on {host}",
    "show the first {n} lines of {path}",
    "summarize {path} in {n} sentences",
    "delete the files older than {n} {unit} on {host}",
    "turn on alerts for {host}",
    "translate {quote} into {language}",
    "rename {name} in {path}",
    "write unit tests for {name} with mocks",
    "explain {cve} to a beginner",
    "close issue {issue} as fixed",
    "merge {branch} into main",
    "upgrade the server on {host} to {version}",
    "enable the cache on {host}",
    "find the flights from {city} to Berlin",
    "what is the weather in {city} today",
    "how do i rotate the keys on {host}",
    "how do i install {version} on {host}",
    "fetch {url} and count the links",
    "compare {version} with v2.0.0",
    "why does the job on {host} fail",
    "send at most {n} mails to the users in {city}",
    "review {branch} before {n} {unit}",
    "export the table from {host} as csv",
    "list the users with admin rights on {host}",
    "what changed in {path} since {version}",
    "print {quote} {n} times",
    "is {host} up",
    "keep the newest {n} backups of {host}",
    "draft a reply to issue {issue} in {language}",
    "generate {spoken} names for a café in {city}",
    "don't restart {host} before the tests pass",
    "sort the rows of {path} ascending by date",
)
_SWAP_LIST = """
on:off; with:without; into:from; from:to; older:newer; newest:oldest; first:last; most:least;
before:after; since:until; enable:disable; upgrade:downgrade; ascending:descending; open:closed;
close:reopen; delete:keep; export:import; is:was; does:did; don't:always; fixed:invalid;
today:tomorrow; how:when; and:or; up:down; why:when; the:only the; a:no
"""
_SWAPS = [swap.strip().split(":") for swap in _SWAP_LIST.split(";")]
_ASKED = ("how do i ", "how can i ", "how can you ", "how to ", "how do you ", "tell me how to ")
_FRAMES = (
    "{}",
    "{}",
    "please {}",
    "{} please",
    "{}, thanks!",
    "could you please {}?",
    "can you please {}",
    "hi, {}",
    "i would like you to {}",
    "I'd like you to {}.",
    "kindly {}",
    "{}. Thank you in advance!",
)
_QUESTION_FRAMES = ("{}", "{}?", "{}, please?", "hello, {}", "{} thanks")


def goal(chance: random.Random) -> tuple[str, str, dict[str, str]]:
    """Return a goal, its template and what its slots hold."""
    template = chance.choice(_INTENTS)
    filled = {slot: chance.choice(values) for slot, values in _SLOTS.items() if f"{{{slot}}}" in template}
    return template.format(**filled), template, filled


def noise(template: str, filled: dict[str, str], chance: random.Random) -> str:
    """Put the same task in another way: the words around the slots change, what fills them does not."""
    if template.startswith(_ASKED[0]):
        template = chance.choice(_ASKED) + template.removeprefix(_ASKED[0])
    is_order = template.split(" ")[0] not in ("what", "how", "why", "is", "tell")
    template = chance.choice(_FRAMES if is_order else _QUESTION_FRAMES).format(template)
    if chance.random() < 0.5:
        template = template.replace(" the ", " ")
    if chance.random() < 0.3:
        template = template.replace("don't", "do not").replace("what is", "what's")
    for change in (chance.choice(_RECASE), chance.choice(_RESPACE)):
        template = "".join(
            change(part) if place % 2 == 0 else part for place, part in enumerate(_split(template))
        )
    spoken = dict(zip(_SLOTS["spoken"], _SLOTS["n"], strict=True))
    if "spoken" in filled and chance.random() < 0.5:
        filled = filled | {"spoken": spoken[filled["spoken"]]}
    text = template.format(**filled) + chance.choice(["", "", ".", "!", " ", "\n"])
    return unicodedata.normalize(chance.choice(["NFC", "NFD"]), text)


_RECASE: Sequence[Callable[[str], str]] = (
    str,
    str,
    str.upper,
    str.title,
    lambda text: text[:1].upper() + text[1:],
)
_RESPACE: Sequence[Callable[[str], str]] = (
    str,
    lambda text: text.replace(" ", "  "),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace("'", "’"),
)


def _split(template: str) -> list[str]:
    """Part a template so that every second part is a slot."""
    parts: list[str] = []
    for place, piece in enumerate(template.split("{")):
        slot, closed, rest = piece.partition("}")
        parts += [f"{{{slot}}}", rest] if place and closed else [piece]
    return parts


def mutations(template: str, filled: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield every other task one word or slot away, and what was changed."""
    for slot, held in filled.items():
        for value in _SLOTS[slot]:
            if value != held:
                yield f"slot {slot}", template.format(**filled | {slot: value})
    for old, new in _SWAPS:
        if f" {old} " in f" {template} ":
            swapped = f" {template} ".replace(f" {old} ", f" {new} ", 1).strip()
            yield f"{old} -> {new}", swapped.format(**filled)
    yield "negation", ("never " + template).format(**filled)
    names = sorted(filled)
    if len(names) > 1:
        yield "order", template.format(**filled | {names[0]: filled[names[1]], names[1]: filled[names[0]]})


def report(seed: int, *, count: int) -> None:
    """Print the share of noise that lost its key, of mutations that kept it, and of those the guard let through."""
    chance = random.Random(seed)
    missed, wrong, passed = Counter[str](), Counter[str](), Counter[str]()
    variants = mutants = 0
    for _ in range(count):
        text, template, filled = goal(chance)
        key = canonical_key(text)
        variants += 1
        put_otherwise = noise(template, filled, chance)
        missed[f"{text!r} / {put_otherwise!r}"] += canonical_key(put_otherwise) != key
        for kind, other in mutations(template, filled):
            mutants += 1
            wrong[f"{kind}: {text!r} / {other!r}"] += canonical_key(other) == key
            passed[kind] += known_difference(text, other) is None
    print(
        f"lost     {missed.total()} of {variants} = {missed.total() / variants:.4f} of noise variants changed the key"
    )
    print(f"wrong    {wrong.total()} of {mutants} = {wrong.total() / mutants:.5f} of mutations kept the key")
    print(
        f"guard    {passed.total()} of {mutants} = {passed.total() / mutants:.4f} of mutations left to the judge"
    )
    for title, cases in (("lost", missed), ("wrong", wrong), ("left to the judge", passed)):
        for case, times in cases.most_common(8):
            if times:
                print(f"  {title}: {case} ({times})")


def speed(seed: int, *, count: int) -> None:
    """Print keys a second of CPU time over goals in noise, and over goals of 10,000 characters."""
    chance = random.Random(seed)
    goals = [noise(*goal(chance)[1:], chance) for _ in range(count)]
    short = min(_seconds(goals) for _ in range(3)) / count
    long = min(_seconds(["; ".join(goals)[:10_000]]) for _ in range(3))
    print(
        f"speed    {1 / short:.0f} keys/s, {short * 1e6:.0f} us a goal, {long * 1e3:.1f} ms for 10,000 characters"
    )


def _seconds(goals: Sequence[str]) -> float:
    started = time.process_time()
    for text in goals:
        canonical_key(text)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="goals")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report(arguments.seed, count=arguments.count)
    speed(arguments.seed, count=arguments.count)


if __name__ == "__main__":
    main()

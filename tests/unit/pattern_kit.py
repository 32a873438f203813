"""Collects every regular expression of our code, and grows hostile texts out of an expression's own parts."""

import ast
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]  # private
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("orchestrator", "workers", "api")
_CALLS: Final = frozenset(
    {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}
)
_ANCHORED: Final = frozenset({"match", "fullmatch"})
# every module in a fresh process, with re.compile and its kin recorded: what was built while importing, and where
_RECORD: Final = """
import gc, importlib, json, re, sys
gc.disable()
roots, calls, names = json.loads(sys.argv[1])
roots = tuple(roots)
built = []
def recording(function):
    def call(pattern, *rest, **named):
        at = sys._getframe(1)
        if at.f_code.co_filename.startswith(roots):
            flags = flags_of(function, rest, named)
            given = pattern if isinstance(pattern, re.Pattern) else function_compile(pattern, flags)
            if isinstance(given.pattern, str):
                built.append([at.f_code.co_filename, at.f_lineno, given.pattern, given.flags])
        return function(pattern, *rest, **named)
    return call
function_compile = re.compile
def flags_of(function, rest, named):
    return named.get("flags", rest[0] if function is function_compile and rest else 0)
for call in calls:
    setattr(re, call, recording(getattr(re, call)))
for name in names:
    importlib.import_module(name)
print(json.dumps(built))
"""


@dataclass(frozen=True, slots=True)
class Found:
    """An expression, where it stands, and whether it is only ever tried at one place of a text."""

    file: str
    line: int
    pattern: str
    flags: int
    anchored: bool = False

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line} {self.pattern[:60]!r}"


def every_pattern() -> list[Found]:
    """Return the expressions that importing our modules builds, and those written inside functions."""
    recorded = set(_recorded())
    places = {(one.file, one.line) for one in recorded}
    found = recorded | {one for one in _written() if (one.file, one.line) not in places}
    return sorted(found, key=lambda one: (one.file, one.line, one.pattern, one.flags))


def built_elsewhere(known: Iterable[Found]) -> set[str]:
    """Return the calls whose expression is neither written out nor built while importing, as file and source."""
    places = {(one.file, one.line) for one in known}
    return {
        f"{file} {ast.unparse(call.args[0])}"
        for file, call in _calls()
        if _literal(call.args[0]) is None
        and not any(
            (file, line) in places for line in range(call.lineno, (call.end_lineno or call.lineno) + 1)
        )
    }


@cache
def _files() -> Sequence[tuple[str, ast.Module]]:
    """Return the modules that mention `re.`, parsed."""
    return [
        (str(path.relative_to(ROOT)), ast.parse(text))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if re.search(r"\bre\.", text := path.read_text("utf-8"))
    ]


@cache
def _calls() -> Sequence[tuple[str, ast.Call]]:
    return [*_found_calls()]


def _found_calls() -> Iterator[tuple[str, ast.Call]]:
    for file, tree in _files():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in _CALLS
                and node.args
            ):
                yield file, node


def _written() -> Iterator[Found]:
    for file, call in _calls():
        text = _literal(call.args[0])
        if text is not None and isinstance(call.func, ast.Attribute):
            yield Found(file, call.lineno, text, 0, call.func.attr in _ANCHORED)


def _literal(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Constant):
        return None
    if isinstance(node.value, bytes):
        return node.value.decode("latin-1")
    return node.value if isinstance(node.value, str) else None


def _recorded() -> list[Found]:
    names = sorted({file.removesuffix(".py").replace("/", ".") for file, _ in _calls()})
    anchored = _anchored_names()
    asked = json.dumps([[f"{ROOT}/{package}/" for package in PACKAGES], sorted(_CALLS), names])
    done = subprocess.run(
        [sys.executable, "-c", _RECORD, asked],
        cwd=ROOT,
        # nothing of ours is tested in there, so its coverage is not measured
        env={name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [
        Found(file := str(Path(name).relative_to(ROOT)), line, pattern, flags, (file, line) in anchored)
        for name, line, pattern, flags in json.loads(done.stdout.splitlines()[-1])
    ]


def _anchored_names() -> set[tuple[str, int]]:
    """Return where `NAME = re.compile(...)` stands of which a file asks nothing but match and fullmatch."""
    anchored: set[tuple[str, int]] = set()
    for file, tree in _files():
        nodes = list(ast.walk(tree))
        asked: dict[str, list[str]] = {}
        for node in nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                asked.setdefault(node.value.id, []).append(node.attr)
        mentioned = Counter(node.id for node in nodes if isinstance(node, ast.Name))
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                methods = asked.get(name, [])
                # named once more than asked for the definition: it is handed to nobody
                if methods and _ANCHORED.issuperset(methods) and mentioned[name] == len(methods) + 1:
                    anchored.add((file, node.value.lineno))
    return anchored


_ENDS: Final = ("", "\x00", "12a", "\n-")
_TYPICAL: Final = "a1 -_.:/\n\"'é"
_OPEN_END: Final = 6
_REPEATS: Final = frozenset({sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT})


def attacks(pattern: re.Pattern[str]) -> list[Callable[[int], str]]:
    """Return growers: each makes a hostile text of about so many letters out of the expression's own parts."""
    tree = sre_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    chance = random.Random(repr(pattern.pattern))
    wholes = [_sample(tree, chance, more) for more in (0, 1, 3) for _ in range(2)]
    letters = sorted({letter for whole in wholes for letter in whole})[:24]
    units: set[tuple[str, str]] = {("", unit) for whole in wholes for unit in (whole, whole[:-1], whole[1:])}
    units |= {("", letter) for letter in letters}
    units |= {("", chance.choice(letters) + chance.choice(letters)) for _ in letters}
    for head, body in _repeats(tree, []):
        for more in (0, 1, 2):
            before = _sample(head, chance, more)
            unit = _sample(body, chance, more)
            units |= {(before, unit), ("", before + unit), ("", before + unit * 3)}
    return [_grower(head, unit, end) for head, unit in sorted(units) if unit for end in _ENDS]


def _grower(head: str, unit: str, end: str) -> Callable[[int], str]:
    return lambda size: head + unit * max(1, (size - len(head) - len(end)) // len(unit)) + end


def _repeats(tree: Any, before: list[Any]) -> Iterator[tuple[list[Any], Any]]:
    """Yield every repeat of a parsed expression with what stands before it."""
    for place, (kind, given) in enumerate(tree):
        head = [*before, *list(tree)[:place]]
        if kind in _REPEATS:
            if given[1] > _OPEN_END:
                yield head, given[2]
            yield from _repeats(given[2], head)
        elif kind is sre.BRANCH:
            for branch in given[1]:
                yield from _repeats(branch, head)
        elif kind is sre.SUBPATTERN:
            yield from _repeats(given[-1], head)
        elif kind is sre.ATOMIC_GROUP:
            yield from _repeats(given, head)
        elif kind in (sre.ASSERT, sre.ASSERT_NOT) and given[0] > 0:
            yield from _repeats(given[1], head)


def _sample(tree: Any, chance: random.Random, more: int) -> str:
    """Return a text that the parsed expression is likely to match, repeats taken their least plus `more` times."""
    groups: dict[int | None, str] = {}

    def made(nodes: Any) -> str:
        return "".join(one(kind, given) for kind, given in nodes)

    def one(kind: Any, given: Any) -> str:
        if kind is sre.BRANCH:
            return made(chance.choice(given[1]))
        if kind is sre.SUBPATTERN:
            groups[given[0]] = made(given[-1])
            return groups[given[0]]
        if kind in _REPEATS:
            least, most, body = given
            return "".join(made(body) for _ in range(min(least + more, most)))
        if kind is sre.ATOMIC_GROUP:
            return made(given)
        return groups.get(given, "") if kind is sre.GROUPREF else _letter(kind, given, chance)

    return made(tree)


def _letter(kind: Any, given: Any, chance: random.Random) -> str:
    """Return a letter that is meant, or nothing for what takes none, such as a look ahead."""
    if kind is sre.LITERAL:
        return chr(given)
    if kind in (sre.NOT_LITERAL, sre.ANY):
        return next(letter for letter in _TYPICAL if ord(letter) != given)
    return _member(given, chance) if kind is sre.IN else ""


def _member(items: Sequence[Any], chance: random.Random) -> str:
    if items[0][0] is sre.NEGATE:
        return _outside(items[1:])
    kind, given = chance.choice(items)
    if kind is sre.LITERAL:
        return chr(given)
    if kind is sre.RANGE:
        return chr(chance.randint(*given))
    return {
        sre.CATEGORY_DIGIT: "7", sre.CATEGORY_NOT_DIGIT: "a", sre.CATEGORY_SPACE: " ", sre.CATEGORY_NOT_SPACE: "a",
        sre.CATEGORY_WORD: "w", sre.CATEGORY_NOT_WORD: "-",
    }[given]  # fmt: skip


def _outside(items: Sequence[Any]) -> str:
    """Return a letter that a negated class takes."""
    parts = "".join(_source(kind, given) for kind, given in items)
    allowed = re.compile(f"[^{parts}]")
    return next((letter for letter in _TYPICAL + "zZ9\u4e2d" if allowed.match(letter)), "\u4e2d")


def _source(kind: Any, given: Any) -> str:
    if kind is sre.LITERAL:
        return re.escape(chr(given))
    if kind is sre.RANGE:
        return f"{re.escape(chr(given[0]))}-{re.escape(chr(given[1]))}"
    return {
        sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s",
        sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
    }[given]  # fmt: skip


def cpu_seconds(work: Callable[[str], object], text: str, *, times: int = 1) -> float:
    """Return the least CPU time of `times` runs, none of it the tracer's that measures coverage."""
    least, tracer = float("inf"), sys.gettrace()
    sys.settrace(None)
    try:
        for _ in range(times):
            started = time.process_time()
            work(text)
            least = min(least, time.process_time() - started)
    finally:
        sys.settrace(tracer)
    return least

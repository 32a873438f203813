"""No expression of ours, and nothing that reads untrusted text with them, costs more than linear time."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import pytest

from orchestrator.observability.log import Redactor
from orchestrator.safety import redact, scan
from orchestrator.similarity import canonical_key
from tests.unit.pattern_kit import Found, attacks, built_elsewhere, cpu_seconds, every_pattern

_SHARDS = 4
# built while running, out of escaped texts only: origins, known secrets, quoted values
_JOINED_LITERALS = {
    "api/middleware/cors.py re.escape(origin) + '\\\\Z'",
    "orchestrator/observability/log.py '|'.join(map(re.escape, longest_first))",
    "workers/sandbox/process_usage.py b'^\\\\S+ \\\\S+ \\\\S+ \\\\S+ (\\\\d+) +' + re.escape(os.fsencode(below)) + "
    "b'/.* \\\\(deleted\\\\)$'",
}
# one pass at 64,000 letters costs at most this without a look at how it grew
_CHEAP_SECONDS = 0.02
# an exponential one shows at one of these, and would never end at 1,000 letters
_TINY = (12, 16, 20, 24, 28, 32, 40, 60, 120)
# linear is 4 and quadratic is 16
_STEEP = 9.0
_WORST = 2


@cache
def patterns() -> list[Found]:
    return every_pattern()


def test_no_expression_escapes_the_growth_test() -> None:
    assert len(patterns()) > 400
    assert built_elsewhere(patterns()) == _JOINED_LITERALS


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(_SHARDS))
def test_every_expression_takes_linear_time_on_texts_made_of_its_own_parts(shard: int) -> None:
    steep = [found.name for found in patterns()[shard::_SHARDS] if (fault := _growth(found)) and fault]

    assert steep == []


def test_the_growth_test_sees_an_expression_that_backtracks() -> None:
    known = [r"(a+)+$", r"\d(?:(?: ?[-.] ?| {1,2})\d++)*+(?![^\W_])", r"(?:a|aa)+b"]

    assert [_growth(Found("x.py", 1, pattern, 0)) != "" for pattern in known] == [True] * len(known)


def _growth(found: Found) -> str:
    """Return the text (its beginning) under which an expression grows faster than linear; empty if none does."""
    pattern = re.compile(found.pattern, found.flags & ~re.UNICODE)
    work = partial(_tried, pattern) if found.anchored else partial(_searched, pattern)
    scored = []
    for grow in attacks(pattern):
        if tiny := next((text for text in _tiny(grow) if cpu_seconds(work, text) > _CHEAP_SECONDS), ""):
            return tiny
        text = grow(1_000)
        seconds = cpu_seconds(work, text) / len(text)
        if seconds * 1_000 > _CHEAP_SECONDS:
            return text[:40]
        scored.append((seconds, text[:40], grow))
    scored.sort(key=lambda one: one[0], reverse=True)
    return next((text for _, text, grow in scored[:_WORST] if _is_steep(work, grow)), "")


def _tiny(grow: Callable[[int], str]) -> Iterator[str]:
    return (grow(size)[: size + 2] for size in _TINY)


def _is_steep(
    work: Callable[[str], object],
    grow: Callable[[int], str],
    *,
    sizes: Sequence[int] = (1_000, 4_000, 16_000),
) -> bool:
    """Grow a text from each size to four times that; noise is met by a floor and by asking again."""
    for size in sizes:
        small, large = grow(size), grow(4 * size)
        after = cpu_seconds(work, large)
        if after < _CHEAP_SECONDS or after < _STEEP * cpu_seconds(work, small):
            continue
        if cpu_seconds(work, large, times=2) > _STEEP * cpu_seconds(work, small, times=3):
            return True
    return False


def _searched(pattern: re.Pattern[str], text: str) -> None:
    for _ in pattern.finditer(text):
        pass


def _tried(pattern: re.Pattern[str], text: str) -> None:
    pattern.match(text)
    pattern.fullmatch(text)


_UNITS = (
    "12 34 ", "7-77-", "77  ", "1 844 777-777", "F:B:77.77.77.77:", "A.A.", "aB", "****", "simulate as as ", "as ",
    "4111 1111 ", "a@b. ", "DE89 ", "+1 ", "password=x ", "-----BEGIN PRIVATE KEY-----", "://a:", "eyJa.", "&#65; ",
    "<a:", "'a ", "a,", "a-", "`a", "(a", "1,", "how do i ", "please ", "a thousand ", "\u0301", "ａ", "忽略", "<!--",
)  # fmt: skip
_READERS: dict[str, Callable[[str], object]] = {
    "scan": scan,
    "redact": redact,
    "canonical_key": canonical_key,
    "log": lambda text: Redactor(("hunter2hunter2",))(None, "", {"header": text, "exception": text}),
}


@pytest.mark.parametrize("name", _READERS)
def test_what_reads_untrusted_text_takes_time_in_proportion_to_it(name: str) -> None:
    read = _READERS[name]
    read("call +44 20 7946 0958")

    steep = [unit for unit in _UNITS for end in ("", "12a") if _is_costly(read, unit, end)]

    assert steep == []


def _is_costly(read: Callable[[str], object], unit: str, end: str) -> bool:
    def grow(size: int) -> str:
        return unit * (size // len(unit)) + end

    # 10 us a letter is five times the worst linear text; what grows as the square is far beyond at 8,000
    return cpu_seconds(read, grow(8_000)) > 0.08 and _is_steep(read, grow, sizes=(1_000, 4_000))

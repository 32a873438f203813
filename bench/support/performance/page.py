"""Writes the figures of bench/task.py into docs/performance.md: the tables, and a chart as SVG."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.support.performance.driver import ROOT
from bench.support.performance.plans import RAGGED_IDEAL_MS
from bench.support.performance.subjects import ENGINE, FLOOR, WHOLE

PAGE: Final = ROOT / "docs" / "performance.md"
CHART: Final = ROOT / "docs" / "img" / "performance.svg"
SCALING: Final = ROOT / "docs" / "scaling.md"
_LIMITS_BEGIN: Final = "<!-- limits: written by bench/task.py, do not edit -->"
_LIMITS_END: Final = "<!-- end of limits -->"
_BEGIN: Final = "<!-- figures: written by bench/task.py, do not edit -->"
_END: Final = "<!-- end of figures -->"
_ORDER: Final = (WHOLE, ENGINE, FLOOR)
_COLOURS: Final = (
    "#4e79a7",
    "#f28e2b",
    "#e15759",
    "#76b7b2",
    "#59a14f",
    "#edc948",
    "#b07aa1",
    "#9c755f",
    "#bab0ac",
)
_WIDTH: Final = 760
_LABELS: Final = 150
_BAR: Final = 22
_GAP: Final = 12

Figure = Mapping[str, Any]


def write(results: Mapping[str, Any]) -> None:
    """Replace the figures of both pages, and the chart."""
    _replace(PAGE, _BEGIN, _END, _lines(results))
    _replace(SCALING, _LIMITS_BEGIN, _LIMITS_END, _limits(results))
    CHART.parent.mkdir(exist_ok=True)
    CHART.write_text(_chart(_alone(results["figures"])), "utf-8")


def _replace(page: Path, begin: str, end: str, lines: Iterator[str]) -> None:
    """Replace what a page has between two comments."""
    before, _, rest = page.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    written = "\n".join(lines)
    page.write_text(f"{before}{begin}\n\n{written}\n\n{end}{after}", "utf-8")


def _limits(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many tasks a second each part can take, from the costs of a task with several in flight."""
    one = next(
        each
        for each in results["figures"]
        if (each["subject"], each["plan"]) == (WHOLE, "fan8") and each["in_flight"] > 1
    )
    cpu = one["cpu_ms"]
    postgres, redis = cpu["postgres"], cpu["redis"]
    own = cpu["total"] - postgres - redis
    cores = postgres / redis
    wal = one["wal_bytes"] / 1000
    yield f"Commit {results['commit']}, whole fan8 tasks with {one['in_flight']} in flight:"
    yield ""
    yield "| part | a task takes | tasks a second |"
    yield "|---|---|---|"
    yield f"| our processes | {own:.0f} CPU-ms | {1000 / own:.0f} a core |"
    yield f"| Postgres | {postgres:.1f} CPU-ms | {1000 / postgres:.0f} a core |"
    yield f"| Redis or Valkey | {redis:.1f} CPU-ms | {1000 / redis:.0f} in all |"
    written = f"{wal:.0f} kB, {one['writing_transactions']:.0f} commits"
    yield f"| WAL | {written} | at {1000 / redis:.0f} tasks/s {wal / redis:.0f} MB/s |"
    yield f"| Postgres as fast as one Redis | | {cores:.0f} cores |"


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    figures: Sequence[Figure] = results["figures"]
    yield from _origin(results)
    yield ""
    yield "| fan8 | P50 ms | P95 ms | a second, 16 in flight | CPU-ms | CPU-ms, 16 in flight | WAL kB | Redis calls |"
    yield "|---|---|---|---|---|---|---|---|"
    busy = {one["subject"]: one for one in figures if one["plan"] == "fan8" and one["in_flight"] > 1}
    for one in _alone(figures):
        yield _comparison(one, busy[one["subject"]])
    yield ""
    yield "| whole tasks | in flight | server P50 / P95 ms | client P50 / P95 ms | a second | CPU-ms | WAL kB |"
    yield "|---|---|---|---|---|---|---|"
    for one in figures:
        if one["subject"] == WHOLE:
            yield _whole(one)
    yield ""
    yield from _parts(next(one for one in figures if "statements" in one and one["subject"] == WHOLE))


def _origin(results: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = results["machine"], results["versions"]
    changed = " with changes" if results["changed"] else ""
    yield f"Commit {results['commit']}{changed}, {results['measured_at'][:10]}: {machine['cores']} cores,"
    yield f"{machine['processor']},"
    turns = max(one["runs"] for one in results["figures"])
    yield f"{machine['memory_gib']} GiB; load at the end {machine['load'][0]:.1f}; turns: {turns}."
    yield (
        f"Python {versions['python']}, "
        + ", ".join(
            f"{name} {versions[name]}"
            for name in ("postgres", "valkey", "redis", "celery")
            if name in versions
        )
        + "."
    )


def _comparison(one: Figure, busy: Figure) -> str:
    cells = (
        one["subject"],
        f"{one['client_p50_ms']:.1f}",
        f"{one['client_p95_ms']:.1f}",
        f"{busy['per_second']:.1f}",
        f"{one['cpu_ms']['total']:.0f}",
        f"{busy['cpu_ms']['total']:.0f}",
        f"{one['wal_bytes'] / 1000:.0f}",
        f"{one['redis_commands']['total']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _whole(one: Figure) -> str:
    ideal = f" (ideal {RAGGED_IDEAL_MS:.0f})" if one["plan"] == "ragged" else ""
    cells = (
        one["plan"] + ideal,
        str(one["in_flight"]),
        f"{one['server_p50_ms']:.0f} / {one['server_p95_ms']:.0f}",
        f"{one['client_p50_ms']:.0f} / {one['client_p95_ms']:.0f}",
        f"{one['per_second']:.1f}",
        f"{one['cpu_ms']['total']:.0f}",
        f"{one['wal_bytes'] / 1000:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _parts(one: Figure) -> Iterator[str]:
    yield "| a whole fan8, one at a time | CPU-ms | statements | commits |"
    yield "|---|---|---|---|"
    sent = {user.removeprefix("octollm_up_"): user for user in one["statements"]}
    for kind, spent in sorted(one["cpu_ms"].items(), key=lambda each: -each[1]):
        user = sent.get(kind, "")
        statements, commits = one["statements"].get(user, 0), one["commits"].get(user, 0)
        if spent >= 0.5 or statements >= 0.5:
            yield f"| {kind} | {spent:.1f} | {statements:.1f} | {commits:.1f} |"


def _alone(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures of fan8 one at a time, ours first."""
    found = [one for one in figures if one["plan"] == "fan8" and one["in_flight"] == 1]
    order = {name: place for place, name in enumerate(_ORDER)}
    return sorted(found, key=lambda one: (order.get(one["subject"], len(order)), one["subject"]))


def _chart(figures: Sequence[Figure]) -> str:
    """Return a bar of CPU milliseconds for each subject, divided by process kind."""
    scale = (_WIDTH - _LABELS - 60) / max(one["cpu_ms"]["total"] for one in figures)
    kinds: dict[str, None] = {}
    for one in figures:
        kinds.update(
            dict.fromkeys(kind for kind, spent in one["cpu_ms"].items() if kind != "total" and spent >= 1)
        )
    colours = {kind: _COLOURS[n % len(_COLOURS)] for n, kind in enumerate(kinds)}
    parts: list[str] = []
    top = 40
    for one in figures:
        parts += _bar(one, top, scale=scale, colours=colours)
        top += _BAR + _GAP
    parts += _legend(colours, top + 8)
    height = top + 20 + 18 * ((len(colours) + 5) // 6)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>\n'
        '<text x="10" y="22" font-weight="bold">CPU milliseconds of one fan8, by process, one at a time</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(one: Figure, top: float, *, scale: float, colours: Mapping[str, str]) -> Iterator[str]:
    yield f'<text x="10" y="{top + 16}">{html.escape(one["subject"])}</text>'
    left = float(_LABELS)
    for kind, colour in colours.items():
        width = max(0.0, one["cpu_ms"].get(kind, 0.0)) * scale
        if width:
            title = f"<title>{html.escape(kind)} {one['cpu_ms'][kind]:.1f} ms</title>"
            yield (
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{colour}">{title}</rect>'
            )
        left += width
    yield f'<text x="{left + 6:.1f}" y="{top + 16}">{one["cpu_ms"]["total"]:.0f}</text>'


def _legend(colours: Mapping[str, str], top: float) -> Iterator[str]:
    for number, (kind, colour) in enumerate(colours.items()):
        left, line = 10 + 122 * (number % 6), top + 18 * (number // 6)
        yield f'<rect x="{left}" y="{line}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{left + 17}" y="{line + 11}">{html.escape(kind)}</text>'

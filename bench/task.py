"""Measures whole tasks over HTTP, interleaved with the chord engine alone, its peers and a floor.

A whole stack as `octollm up` runs it, Postgres with fsync, one task at a time and 16 in flight. Each run takes the
subjects in random order, and a figure is the median of the runs. CPU is that of all processes and servers, not of the
client. --quick takes about half a minute on a quiet machine and leaves out the peers; --json FILE keeps the figures;
--write-docs writes them into docs/performance.json, docs/performance.md and its chart.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.support.performance import figures, page, rivals, subjects
from bench.support.performance.costs import Meter
from bench.support.performance.driver import DriverError
from bench.support.performance.subjects import Subject
from orchestrator.devserver import servers

IN_FLIGHT: Final = 16
RECORD: Final = page.PAGE.with_suffix(".json")
IDLE_SECONDS: Final = 4.0


class Size(NamedTuple):
    """How much is run: turns, and plans in each turn one at a time, in flight, and with statements counted."""

    turns: int
    alone: int
    in_flight: int
    counted: int
    all_plans: bool


FULL: Final = Size(turns=5, alone=20, in_flight=64, counted=20, all_plans=True)
QUICK: Final = Size(turns=1, alone=15, in_flight=48, counted=10, all_plans=False)


@dataclass(frozen=True)
class Series:
    """What is measured in one go."""

    subject: Subject
    plan: str
    in_flight: int


def main() -> int:
    """Measure, print the table, and keep the figures."""
    chosen = _arguments()
    if chosen.figures:
        page.write(json.loads(chosen.figures.read_text()))
        return 0
    results = _results(chosen)
    _say(figures.table(results))
    for path in [chosen.json] * bool(chosen.json) + [RECORD] * chosen.write_docs:
        path.write_text(json.dumps(results, indent=1) + "\n")
    if chosen.write_docs:
        page.write(results)
    return 0


def _results(chosen: argparse.Namespace) -> dict[str, Any]:
    size = QUICK if chosen.quick else FULL
    with _all_subjects(chosen) as found:
        series = list(_series(found, size))
        for one in series:
            one.subject.drive(one.plan, max(4, one.in_flight), one.in_flight)
        taken = _measure(series, size)
        counted = {one.name: _count(one, size) for one in (found[:1] if chosen.quick else found)}
        idle = _idle(found[0])
        return figures.results(taken, counted, idle, versions=found[0].meter.versions())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one turn, without the peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument(
        "--write-docs", action="store_true", help="write the figures into docs/performance.md"
    )
    parser.add_argument(
        "--from",
        dest="figures",
        type=Path,
        metavar="FILE",
        help="measure nothing: write FILE's figures into it",
    )
    return parser.parse_args()


@contextmanager
def _all_subjects(chosen: argparse.Namespace) -> Iterator[list[Subject]]:
    """Start every subject; those that we compare with share servers of their own, so that ours are at rest."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="octollm-bench-")))
        found = [stack.enter_context(subjects.whole_tasks(home / "stack"))]
        others = home / "others"
        running = stack.enter_context(servers.start(others, environ={}))
        meter = Meter(running.database_url, running.redis_url, others / "log" / "postgres.log")
        stack.callback(meter.close)
        compared: list[Any] = [subjects.engine_alone, subjects.floor]
        if not chosen.quick:
            compared += [subjects.stock_celery, *rivals.ALL]
        for start in compared:
            try:
                found.append(stack.enter_context(start(running, meter=meter, home=others)))
            except (rivals.NotToBeHad, DriverError) as error:
                _say(f"left out: {start.__name__}: {error}")
        yield found


def _series(found: Sequence[Subject], size: Size) -> Iterator[Series]:
    for subject in found:
        for plan in subject.plans if size.all_plans else subject.plans[:1]:
            yield Series(subject, plan, 1)
            yield Series(subject, plan, IN_FLIGHT)


def _measure(series: Sequence[Series], size: Size) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """Return the figures of each series' runs by subject, plan and how many were in flight."""
    taken = defaultdict(list)
    for turn in range(size.turns):
        for one in random.Random(turn).sample(series, len(series)):
            figure = _run(one, size.alone if one.in_flight == 1 else size.in_flight)
            taken[one.subject.name, one.plan, one.in_flight].append(figure)
    return taken


def _run(series: Series, count: int) -> dict[str, Any]:
    subject = series.subject
    roots = subject.roots()
    before = subject.meter.read(roots)
    drive = subject.drive(series.plan, count, series.in_flight)
    used = subject.meter.read(roots).since(before)
    return figures.of_run(drive, used, count=count)


def _count(subject: Subject, size: Size) -> dict[str, dict[str, float]]:
    """Return statements and commits of one task by database user, without what the processes do at rest."""
    with subject.meter.statements() as at_rest:
        time.sleep(IDLE_SECONDS)
    began = time.monotonic()
    with subject.meter.statements() as found:
        subject.drive("fan8", size.counted, 1)
    share = (time.monotonic() - began) / IDLE_SECONDS
    return figures.of_statements(found, at_rest, share=share, count=size.counted)


def _idle(subject: Subject) -> dict[str, float]:
    """Return the CPU milliseconds a second of each kind at rest."""
    roots = subject.roots()
    before = subject.meter.read(roots)
    time.sleep(IDLE_SECONDS)
    used = subject.meter.read(roots).since(before)
    return {kind: spent / IDLE_SECONDS for kind, spent in used.cpu_ms.items()}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

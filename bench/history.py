"""Measures what a long history costs: the same work with 0, 100,000 and 1,000,000 finished steps in the database.

The history is made by SQL; one task in twenty is the caller's. Then each hot statement runs as the processes run it,
and whole fan8 tasks run over HTTP. A statement's figure is the CPU time of the Postgres process that serves it, median
of the turns, which other load on the machine hardly changes. Target: at most 1.2 times the figure of the empty
database. Exit status 0 if it holds.

    python bench/history.py [finished steps, 0 100000 1000000 by default] [--json FILE]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Engine

from bench.support.performance import subjects
from bench.support.performance.subjects import Subject
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.connections.redis_client import open_client
from orchestrator.memory import pools, task_lists, tasks
from orchestrator.memory.task_lists import TaskFilter
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.acceptance.plans import collect
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer, done, verdict
from workers.sweeper import Sweeper

STEPS_A_TASK: Final = 10
# a claim looks its row up on a second one
CONNECTIONS: Final = 2
TURNS: Final = 30
WARM_UP: Final = 5
WHOLE_TASKS: Final = 40
TARGET: Final = 1.2

# 25 seconds apart, so that 100,000 tasks are younger than the 30 days after which the sweeper forgets them
HISTORY: Final = """
SET LOCAL session_replication_role = replica;
CREATE TEMPORARY TABLE old ON COMMIT DROP AS
SELECT 'task_' || lpad(n::text, 16, '0') AS id, 'chord_' || n AS chord_id,
    CASE WHEN n %% 20 = 0 THEN %(tenant)s ELSE 'tenant' || n %% 20 END AS tenant,
    now() - n * interval '25 seconds' AS at
FROM generate_series(%(first)s, %(last)s) n;
INSERT INTO tasks (id, tenant, priority, contract, status, phase, round, deadline_at, created_at, finished_at)
SELECT id, tenant, 'medium', '{"goal": "g", "attachments": []}', 'completed', 'done', 1, at, at, at FROM old;
INSERT INTO rounds (task_id, number, plan_id, chord_id, plan)
SELECT id, 1, 'plan', chord_id, '{}' FROM old;
INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, chord_id, state, attempt, result, finished_at,
    started_at)
SELECT 'step_' || old.id || n, old.id, 1, 'step', 's' || n, 'retriever', 'arm.retriever', 6, chord_id,
    'done', 1, '{"output": {"summary": "done"}}', at, at
FROM old, generate_series(1, 10) n;
INSERT INTO events (task_id, seq, type, payload)
SELECT id, n, 'step.completed', '{}' FROM old, generate_series(1, 12) n;
INSERT INTO traces (task_id, round, kind, payload)
SELECT id, 1, 'attempt', '{}' FROM old, generate_series(1, 12) n;
INSERT INTO chords (id, body, size, done, state, ready_at)
SELECT chord_id, '{}', 10, 10, 'closed', at FROM old;
INSERT INTO chord_parts (chord_id, task_id, idx, failed, counted_at)
SELECT chord_id, 'step_' || id || n, -1, false, at FROM old, generate_series(1, 10) n;
INSERT INTO results (task_id, status)
SELECT 'step_' || id || n, 'SUCCESS' FROM old, generate_series(1, 10) n;
"""

Found = TypeVar("Found")


def main() -> int:
    """Measure at each size; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", nargs="*", type=int, default=[0, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    chosen = parser.parse_args()
    figures: dict[int, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="octollm-bench-") as folder,
        subjects.whole_tasks(Path(folder)) as subject,
        _engine(subject.settings) as engine,
    ):
        made = 0
        for size in chosen.steps:
            _grow(engine, made, size)
            made = size
            figures[size] = {**_statements(engine, subject.settings), **_whole_tasks(subject)}
            print(f"measured with {size} finished steps", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    return _report(figures)


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    engine = open_engine(settings.database_url, pool_size=CONNECTIONS)
    yield engine
    engine.dispose()


def _grow(engine: Engine, made: int, size: int) -> None:
    """Add finished steps until there are `size`."""
    if size > made:
        values = {"tenant": TENANT, "first": made // STEPS_A_TASK + 1, "last": size // STEPS_A_TASK}
        with transaction(engine) as conn:
            conn.exec_driver_sql(HISTORY, values)
    with statement(engine) as conn:
        conn.exec_driver_sql("VACUUM (ANALYZE)")
        conn.exec_driver_sql("CHECKPOINT")


class Timer:
    """Adds up, by name, the CPU milliseconds of the Postgres processes behind an engine of CONNECTIONS."""

    def __init__(self, engine: Engine) -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(statement(engine)) for _ in range(CONNECTIONS)]
            pids = [conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for conn in opened]
        # nanoseconds on a CPU, nanoseconds waiting for one, turns
        self._used = [Path(f"/proc/{pid}/schedstat") for pid in pids]
        self.times: dict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, work: Callable[..., Found], *arguments: Any) -> Found:
        before = self._read()
        found = work(*arguments)
        self.times[name].append((self._read() - before) / 1e6)
        return found

    def _read(self) -> int:
        return sum(int(one.read_text().split()[0]) for one in self._used)


def _statements(engine: Engine, settings: Settings) -> dict[str, float]:
    """Return the CPU milliseconds of each hot statement."""
    engineer = Engineer(engine, settings)
    sweeper = Sweeper(process_of(engineer), open_client(settings.redis_url))
    timer = Timer(engine)
    for _ in range(WARM_UP):
        _turn(engineer, sweeper, timer)
    timer.times.clear()
    for _ in range(TURNS):
        _turn(engineer, sweeper, timer)
    return {name: statistics.median(found) for name, found in timer.times.items()}


def _turn(engineer: Engineer, sweeper: Sweeper, timed: Timer) -> None:
    """Run one fan8 task by hand, read it, and sweep."""
    names = [f"s{number}" for number in range(8)]
    plan = [collect(name, [1]) for name in names]
    task_id = timed("submit", engineer.submit, *plan)
    timed("plan and save the round", engineer.plan, task_id)
    for name in names:
        claim = timed("claim a step", engineer.take, task_id, name)
        timed("complete a step", engineer.store, claim, done({"summary": "done"}))
    judge = timed("claim the judge", engineer.take, task_id, "$judge")
    timed("end the task", engineer.conclude, judge, verdict(Decision.PASSED))
    timed("read the status", _read, engineer, task_id)
    timed("list tasks", _list, engineer)
    timed("statistics of the arms", _with, engineer, pools.arm_statistics)
    timed("all sweeps", sweeper.tick)


def _list(engineer: Engineer) -> None:
    _with(engineer, lambda conn: task_lists.find(conn, TENANT, wanted=TaskFilter(), limit=20))


def _read(engineer: Engineer, task_id: str) -> None:
    engineer.task(task_id)
    _with(engineer, lambda conn: tasks.steps_of(conn, task_id))


def _with(engineer: Engineer, work: Callable[[Any], Any]) -> Any:
    with statement(engineer.engine) as conn:
        return work(conn)


def _whole_tasks(subject: Subject) -> dict[str, float]:
    """Return what a whole fan8 task takes and costs, one at a time."""
    subject.drive("fan8", 8, 1)
    roots = subject.roots()
    before = subject.meter.read(roots)
    drive = subject.drive("fan8", WHOLE_TASKS, 1)
    used = subject.meter.read(roots).since(before)
    return {
        "whole fan8, server P50 ms": statistics.median(drive.server_ms),
        "whole fan8, CPU-ms": used.cpu_ms.total() / WHOLE_TASKS,
        "whole fan8, CPU-ms of Postgres": used.cpu_ms["postgres"] / WHOLE_TASKS,
    }


def _report(figures: Mapping[int, Mapping[str, float]]) -> int:
    first, *_, last = figures
    print(f"{'CPU-ms of Postgres':32}" + "".join(f"{size:>12,}" for size in figures) + f"{'last/first':>12}")
    above = []
    for name, base in figures[first].items():
        ratio = figures[last][name] / base
        above += [name] if ratio > TARGET else []
        print(f"{name:32}" + "".join(f"{one[name]:>12.2f}" for one in figures.values()) + f"{ratio:>12.2f}")
    print(f"above {TARGET}: {', '.join(above) or 'none'}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures chords on Celery's Redis backend, its database backend and ours, interleaved in one run.

fan8 is a chord of eight tasks and a body; diamond and ragged are plans, with Celery's groups level by level
on the stock backends and as dataflow on ours. Five runs, medians; Postgres with fsync. Exit status 0 if all
targets hold.
"""

import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
from celery import Celery
from sqlalchemy import create_engine

from bench.support import chord_tasks
from orchestrator.devserver import servers

RUNS: Final = 5
IN_FLIGHT: Final = 20
LATENCY_CHORDS: Final = {"redis": 24, "database": 2, "ours": 24}
BURSTS: Final = 5
BURST_CHORDS: Final = 30
POOLS: Final = {"prefork": 2, "threads": 8}
KINDS: Final = ("redis", "database", "ours")
_HERE: Final = Path(__file__).resolve().parent


@dataclass
class Side:
    """One backend with its worker."""

    kind: str
    app: Celery
    queue: str
    client: "redis.Redis"
    worker_pid: int
    latencies: dict[str, list[float]] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)

    def start(self, plan: str, run: str) -> None:
        """Publish a plan."""
        if self.kind == "ours" and plan != "fan8":
            chord_tasks.start_dataflow(self.app, plan, run)
        else:
            chord_tasks.start_canvas(self.app, plan, run)

    def finished(self) -> tuple[str, float]:
        """Wait for the end of a chord's body; return the run's name and the time."""
        popped = self.client.brpop([f"finished:{self.queue}"], timeout=60)
        if popped is None:
            raise TimeoutError(f"a chord on {self.queue} did not end in 60 s")
        run, at = str(popped[1]).split()
        return run, float(at)

    def latency(self, plan: str) -> float:
        """Return the milliseconds from the call to the body's end."""
        run = new_run()
        began = time.time()
        self.start(plan, run)
        return (self.finished()[1] - began) * 1000

    def burst(self, chords: int) -> float:
        """Return the seconds for some chords with IN_FLIGHT of them running at once."""
        began = time.time()
        for _ in range(IN_FLIGHT):
            self.start("fan8", new_run())
        for number in range(chords):
            self.finished()
            if number + IN_FLIGHT < chords:
                self.start("fan8", new_run())
        return time.time() - began


def main() -> int:
    """Measure both pools; print the table and the targets; return 0 if all hold."""
    holds = []
    with (
        tempfile.TemporaryDirectory(prefix="octollm-bench-") as home,
        servers.start(Path(home), environ={}) as running,
    ):
        with create_engine(running.database_url).begin() as conn:
            conn.exec_driver_sql(chord_tasks.TABLE)
        for pool in POOLS:
            with sides(pool, running.database_url, running.redis_url, log=Path(home)) as chosen:
                measure(pool, chosen)
                holds += report(pool, {side.kind: side for side in chosen})
    return 0 if all(holds) else 1


@contextlib.contextmanager
def sides(
    pool: str, database_url: str, redis_url: str, *, log: Path, kinds: Sequence[str] = KINDS
) -> Iterator[list[Side]]:
    """Run one worker for each backend."""
    backends = {"redis": redis_url, "database": f"db+{database_url}", "ours": f"octollm+{database_url}"}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=None)
        )
        found = []
        for kind in kinds:
            queue = f"{pool}-{kind}"
            app = chord_tasks.make_app(redis_url, backends[kind], queue)
            environ = {
                "BENCH_BROKER": redis_url,
                "BENCH_BACKEND": backends[kind],
                "BENCH_QUEUE": queue,
            }
            pid = stack.enter_context(worker(pool, environ, log=log / f"{queue}.log"))
            found.append(Side(kind, app, queue, client, pid))
        yield found
        if "redis" not in kinds:
            return
        # results that outlive the block would connect to a Redis that has stopped
        consumer: Any = found[kinds.index("redis")].app.backend.result_consumer  # type: ignore[attr-defined]  # the Redis side's
        consumer.stop()
        consumer._pubsub = None


@contextlib.contextmanager
def worker(pool: str, environ: dict[str, str], *, log: Path) -> Iterator[int]:
    """Run one worker until the block ends; its process id."""
    command = [sys.executable, "-m", "celery", "-A", "bench.support.chord_tasks", "worker", "-P", pool]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "-c", str(POOLS[pool]), "-n", f"{environ['BENCH_QUEUE']}@%h", "-l", "WARNING"],
            cwd=_HERE,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process.pid
        finally:
            process.terminate()


def measure(pool: str, chosen: list[Side]) -> None:
    """Measure in random order: single chords, then short bursts, so that other load affects all backends equally."""
    plans = ["fan8"] if pool == "prefork" else ["fan8", "diamond", "ragged"]
    for side in chosen:
        for plan in plans:
            side.latency(plan)
        side.burst(IN_FLIGHT)
    for number in range(RUNS):
        chance = random.Random(number)
        for plan in plans:
            measure_latency(plan, chosen, chance)
        measure_rate(chosen, chance)


def measure_latency(plan: str, chosen: list[Side], chance: random.Random) -> None:
    """Add one median to each side's latencies."""
    turns = [side for side in chosen for _ in range(LATENCY_CHORDS[side.kind])]
    chance.shuffle(turns)
    taken: dict[str, list[float]] = {side.kind: [] for side in chosen}
    for side in turns:
        taken[side.kind].append(side.latency(plan))
    for side in chosen:
        side.latencies.setdefault(plan, []).append(statistics.median(taken[side.kind]))


def measure_rate(chosen: list[Side], chance: random.Random) -> None:
    """Add one rate to each side's; the slow database backend gets one burst."""
    seconds: dict[str, list[float]] = {side.kind: [] for side in chosen}
    for turn in range(BURSTS):
        for side in chance.sample(chosen, len(chosen)):
            if side.kind != "database" or turn == 0:
                seconds[side.kind].append(side.burst(BURST_CHORDS))
    for side in chosen:
        side.rates.append(BURST_CHORDS * len(seconds[side.kind]) / sum(seconds[side.kind]))


def report(pool: str, side: dict[str, Side]) -> list[bool]:
    """Print a pool's table; return whether each target holds."""
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    _say(f"\n{pool} {POOLS[pool]}: medians of {RUNS} interleaved runs (lowest to highest); load now {load}")
    for plan in side["ours"].latencies:
        _say(f"  {plan:8} P50 ms   " + _row({kind: one.latencies[plan] for kind, one in side.items()}))
    _say("  fan8     chords/s " + _row({kind: one.rates for kind, one in side.items()}))
    p50 = {kind: one.latencies["fan8"] for kind, one in side.items()}
    rate = {kind: one.rates for kind, one in side.items()}
    least = 0.7 if pool == "prefork" else 0.9
    holds = [
        _target("fan8 P50, ours to Redis", _ratio(p50["ours"], p50["redis"]), at_most=1.1),
        _target("fan8 P50, database to ours", _ratio(p50["database"], p50["ours"]), at_least=30),
        _target("fan8 chords/s, ours to Redis", _ratio(rate["ours"], rate["redis"]), at_least=least),
    ]
    if "ragged" in side["ours"].latencies:
        ragged = statistics.median(side["ours"].latencies["ragged"])
        holds.append(_target("ragged P50, ours to the ideal 240 ms", ragged / 240, at_most=1.2))
    return holds


def _row(figures: dict[str, list[float]]) -> str:
    return "   ".join(
        f"{kind} {statistics.median(found):7.1f} ({min(found):.1f} to {max(found):.1f})"
        for kind, found in figures.items()
    )


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the runs' ratios; both sides of a ratio were measured in the same run."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def _target(what: str, ratio: float, *, at_most: float | None = None, at_least: float | None = None) -> bool:
    holds = ratio <= at_most if at_most is not None else ratio >= (at_least or 0)
    bound = f"at most {at_most}" if at_most is not None else f"at least {at_least}"
    _say(f"  {what}: {ratio:.2f} (target {bound}): {'holds' if holds else 'MISSED'}")
    return holds


def new_run() -> str:
    """Return a name for a run that no other has."""
    return f"run-{random.getrandbits(64):016x}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())

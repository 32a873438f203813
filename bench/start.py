"""Measures a whole stack on private servers: its start, its memory at rest, and what it does while nobody asks.

Prints the seconds from `Stack.start` to ready and the CPU seconds of all processes until then, which hardly depend on
other load, for a new state directory and then for one that exists (warm); each
process' memory, RSS and PSS (which divides a shared page by its sharers), in MiB; and for the stack at rest the
CPU-milliseconds, Postgres transactions and Redis commands a second.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis
from sqlalchemy import create_engine

from orchestrator.connections.server_url import driver_url
from orchestrator.devserver.stack import Stack

SETTLE_SECONDS: Final = 12.0
TARGET_START_SECONDS: Final = 4.0
TARGET_MIB: Final = 80
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """One process: its name in the Procfile (else its program's), its memory in KiB, its CPU time in ticks."""

    name: str
    rss: int
    pss: int
    ticks: int


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=3, help="how many warm starts [default: 3]")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to watch it rest [default: 20]")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="octollm-start-") as home:
        for number in range(chosen.starts):
            with _started(Path(home), "warm" if number else "new state directory"):
                pass
        with _started(Path(home), "warm") as stack:
            time.sleep(SETTLE_SECONDS)
            report_memory()
            report_rest(stack, chosen.seconds)


@contextmanager
def _started(home: Path, what: str) -> Iterator[Stack]:
    began, spent = time.monotonic(), time.process_time()
    with Stack(home, port=0) as stack:
        seconds = time.monotonic() - began
        ticks = sum(usage.ticks for usage in _usages().values())
        cpu_seconds = time.process_time() - spent + ticks / _TICKS_A_SECOND
        print(
            f"start, {what}: {seconds:.2f} s to ready, {cpu_seconds:.1f} CPU-s "
            f"(target {TARGET_START_SECONDS:g} s on two quiet cores)"
        )
        yield stack


def report_memory() -> None:
    """Print the memory of each of our processes, and the sum of all."""
    print(f"{'':>12} {'RSS MiB':>8} {'PSS MiB':>8}   (target for a worker process {TARGET_MIB} RSS)")
    usages = sorted(_usages().values(), key=lambda usage: (usage.name, usage.pss))
    for usage in usages:
        if "." in usage.name:
            print(f"{usage.name:>12} {usage.rss / 1024:>8.1f} {usage.pss / 1024:>8.1f}")
    print(f"{'all':>12} {'':>8} {sum(usage.pss for usage in usages) / 1024:>8.1f}")


def report_rest(stack: Stack, seconds: float) -> None:
    """Print what the stack uses while it has no work, a second."""
    before, counted = _usages(), _counts(stack)
    time.sleep(seconds)
    after, counted_again = _usages(), _counts(stack)
    spent: defaultdict[str, float] = defaultdict(float)
    for pid, usage in after.items():
        ticks = usage.ticks - (before[pid].ticks if pid in before else 0)
        spent[usage.name.partition(".")[0]] += 1000 * ticks / _TICKS_A_SECOND / seconds
    print(f"at rest: {sum(spent.values()):.1f} CPU-ms a second:", end=" ")
    print(", ".join(f"{name} {ms:.1f}" for name, ms in sorted(spent.items(), key=lambda one: -one[1])))
    for name, count in counted_again.items():
        print(f"at rest: {(count - counted[name]) / seconds:.1f} {name} a second")


def _counts(stack: Stack) -> dict[str, int]:
    engine = create_engine(driver_url(stack.database_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        ended = conn.exec_driver_sql(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        ).scalar_one()
    engine.dispose()
    with redis.Redis.from_url(stack.redis_url) as client:
        return {
            "Postgres transactions": int(ended),
            "Redis commands": int(client.info("stats")["total_commands_processed"]),
        }


def _usages() -> dict[int, Usage]:
    return {pid: usage for pid in _descendants(os.getpid()) if (usage := _usage(pid))}


def _descendants(root: int) -> Iterator[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children[parent].append(int(entry.name))
    waiting = list(children[root])
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children[pid]


def _usage(pid: int) -> Usage | None:
    process = Path("/proc") / str(pid)
    try:
        program, _, stat = (process / "stat").read_text().rpartition(")")
        memory = dict(
            line.split(":", 1)
            for line in (process / "smaps_rollup").read_text().splitlines()[1:]
            if ":" in line
        )
        environ = dict(
            one.partition("=")[::2] for one in (process / "environ").read_text(errors="replace").split("\0")
        )
        name = environ.get("HONCHO_PROCESS_NAME") or program.partition("(")[2]
        if (process / "exe").resolve().name.startswith("python") or "HONCHO_PROCESS_NAME" not in environ:
            fields = stat.split()
            return Usage(name, _kib(memory["Rss"]), _kib(memory["Pss"]), int(fields[11]) + int(fields[12]))
    except (OSError, KeyError):
        pass
    return None


def _kib(text: str) -> int:
    return int(text.split(maxsplit=1)[0])


if __name__ == "__main__":
    main()

"""Measures how soon work continues after a crash and during a restart, with the default settings.

Every kind of worker runs twice, on durable servers. Arguments name measures; default: all. Exit status 0 if every
target is met.
"""

import logging
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from bench.support.chaos import victims
from bench.support.chaos.broker import queue_keys
from bench.support.chaos.harness import Harness
from bench.support.chaos.run import client_of
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.models.arm_capability import ARMS
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, wait
from tests.acceptance.proc import owner_of, parent_of, row_of
from tests.waiting import wait_until

POOLS: Final = tuple(arm.process for arm in ARMS.values() if arm.has_workers)
RUNS: Final = 5
WAITING_TASKS: Final = 100
LOAD_SECONDS: Final = 20.0
_STARTS: Final = """
SELECT (payload ->> 'attempt')::int AS attempt, extract(epoch FROM occurred_at)::float8 AS at
FROM events
WHERE task_id = %(task)s AND type = 'step.started' AND payload ->> 'step' = %(step)s
ORDER BY seq
"""
_HANDED_BACK: Final = """
SELECT extract(epoch FROM occurred_at)::float8 AS at
FROM events
WHERE task_id = %(task)s AND payload ->> 'reason' = 'handed_back'
"""
_FIRST_START: Final = """
SELECT extract(epoch FROM min(occurred_at))::float8 - %(at)s AS seconds
FROM events
WHERE type = 'step.started' AND occurred_at > to_timestamp(%(at)s)
"""
_DELAYS: Final = """
SELECT extract(epoch FROM s.finished_at - s.queued_at)::float8
    - coalesce((s.spec #>> '{inputs,seconds}')::float8, 0) AS seconds, s.attempt
FROM steps s
WHERE s.task_id = ANY(%(ids)s) AND s.kind = 'step'
"""


@dataclass(frozen=True)
class Scene:
    """The running product and a client of it."""

    stack: Stack
    harness: Harness
    client: Client

    def run_step(self, seconds: float) -> tuple[str, int]:
        """Start one step of `seconds`; return its task and the pid of the child that runs it."""
        task_id = self.client.submit(plan={"steps": [wait("one", seconds)]})
        return task_id, owner_of(self.harness.engine, task_id, "one")

    def second_start(self, task_id: str, *, since: float) -> float:
        """Wait for the step's second attempt; return the seconds from `since` (time.time()) to its start."""

        def starts() -> list[dict[str, Any]]:
            return [row for row in self.harness.ask(_STARTS, task=task_id, step="one") if row["attempt"] == 2]

        return float(wait_until(starts, 60, "the second attempt")[0]["at"]) - since

    def whole(self) -> None:
        """Wait until both executors accept steps again."""

        def is_whole() -> bool:
            rows = self.harness.ask(
                "SELECT count(*) AS live FROM pools WHERE arm = 'executor' AND seen_at > now() - interval '6 seconds'"
            )
            mains = self.stack.pids("executor")
            return (
                rows[0]["live"] == 2 and len(mains) == 2 and all(victims.pool_children(pid) for pid in mains)
            )

        wait_until(is_whole, 60, "both executors")


def main() -> int:
    """Run all measures; print the figures and whether each target is met."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chosen = [MEASURES[name] for name in sys.argv[1:]] or MEASURES.values()
    with (
        tempfile.TemporaryDirectory(prefix="octollm-recovery-") as folder,
        Harness(Path(folder) / "servers") as harness,
        Stack(
            Path(folder) / "stack",
            port=0,
            environ={"RATE_LIMIT": "100000/second", **harness.addresses},
            processes={**ONE_OF_EACH, **dict.fromkeys(POOLS, 2)},
        ) as stack,
    ):
        scene = Scene(stack, harness, client_of(stack))
        held = [holds for measure in chosen for holds in measure(scene)]
    return 0 if all(held) else 1


def killed_worker(scene: Scene) -> Iterator[bool]:
    """SIGKILL of a worker with its children: nothing returns the lease, so it must expire."""
    spans = []
    for _ in range(RUNS):
        scene.whole()
        task_id, child = scene.run_step(3)
        at = time.time()
        for pid in (parent_of(child), child):
            os.kill(pid, signal.SIGKILL)
        spans.append(scene.second_start(task_id, since=at))
        scene.client.end_of(task_id)
    yield _told("SIGKILL of a worker: its step runs again after", spans, at_most=20)


def killed_child(scene: Scene) -> Iterator[bool]:
    """SIGKILL of a pool's child: its parent returns the lease."""
    spans = []
    for _ in range(RUNS):
        scene.whole()
        task_id, child = scene.run_step(3)
        at = time.time()
        os.kill(child, signal.SIGKILL)
        spans.append(scene.second_start(task_id, since=at))
        scene.client.end_of(task_id)
    yield _told("SIGKILL of a pool's child: its step runs again after", spans, at_most=2)


def _first_start(scene: Scene, at: float) -> float | None:
    """Return the seconds from `at` to the first start of a step after it."""
    seconds: float | None = scene.harness.ask(_FIRST_START, at=at)[0]["seconds"]
    return seconds


def emptied_redis(scene: Scene) -> Iterator[bool]:
    """The broker loses hundreds of messages: the sweeper publishes them again from their rows."""
    ways: dict[str, Callable[[], object]] = {
        "FLUSHALL": partial(_flush, scene),
        "Redis killed, back and empty after 1 s": partial(scene.harness.kill_redis, away_seconds=1),
    }
    for name, forget in ways.items():
        scene.whole()
        plan = {"steps": [wait(f"w{number}", 0.5) for number in range(5)]}
        with ThreadPoolExecutor(16) as pool:
            ids = list(pool.map(lambda _, plan=plan: scene.client.submit(plan=plan), range(WAITING_TASKS)))
        wait_until(partial(_planned, scene, ids), 60, "all plans")
        forget()
        at = time.time()
        wait_until(lambda: _is_all_sent(scene), 60, "all work in the broker")
        waiting = _queued(scene)
        yield _told(f"{name}: {waiting} waiting messages sent again after", [time.time() - at], at_most=5)
        first = wait_until(partial(_first_start, scene, at), 60, "a step to start")
        print(f"  the first step starts after {first:.2f} s")
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda task_id: scene.client.call("POST", f"/v1/tasks/{task_id}/cancel"), ids))


def killed_postgres(scene: Scene) -> Iterator[bool]:
    """SIGKILL of Postgres while a step runs: its result waits for the server and is recorded."""
    spans, attempts = [], []
    for _ in range(RUNS):
        scene.whole()
        task_id, _child = scene.run_step(2)
        # after the reads at its start, so that the server stops while the arm runs
        time.sleep(0.5)
        scene.harness.kill_postgres(away_seconds=2)
        at = time.time()
        scene.client.end_of(task_id)
        row = row_of(scene.harness.engine, task_id, "one")
        spans.append(row["finished_at"].timestamp() - at)
        attempts.append(row["attempt"])
    yield _told(
        "SIGKILL of Postgres, back after 2 s: a result computed meanwhile is stored after", spans, at_most=5
    )
    print(f"  attempts at these steps: {attempts}")
    yield attempts == [1] * RUNS


def handed_back(scene: Scene) -> Iterator[bool]:
    """SIGTERM while a step runs longer than the grace time (30 s): another worker starts it."""
    scene.whole()
    task_id, child = scene.run_step(40)
    os.kill(parent_of(child), signal.SIGTERM)
    scene.second_start(task_id, since=0)
    back = scene.harness.ask(_HANDED_BACK, task=task_id)[0]["at"]
    yield _told(
        "SIGTERM past the grace time: handed over within",
        [scene.second_start(task_id, since=back)],
        at_most=1,
    )
    scene.client.call("POST", f"/v1/tasks/{task_id}/cancel")


def rolling_restart(scene: Scene) -> Iterator[bool]:
    """A rolling restart of all workers while tasks run."""
    scene.whole()
    calm, _ = _under_load(scene, lambda: time.sleep(LOAD_SECONDS))
    restarted, attempts = _under_load(scene, lambda: _restart_all(scene))
    print(
        f"  a step's delay beside its own work: calm {_row(calm)}; while all workers restart {_row(restarted)}"
    )
    yield _told("rolling restart of all workers: adds to any step", [max(restarted) - max(calm)], at_most=2)
    print(f"  attempts at these steps, most: {max(attempts)}")
    yield max(attempts) == 1


def _under_load(scene: Scene, act: Callable[[], None]) -> tuple[list[float], list[int]]:
    """Keep two tasks running while `act` runs; return each step's delay without its own work, and its attempts."""
    ids: list[str] = []
    over = False

    def submit() -> None:
        while not over:
            steps = [collect("a", [1]), wait("b", 0.3, "a"), wait("c", 0.2, "a"), collect("d", [2], "b", "c")]
            task = scene.client.run(plan={"steps": steps}, timeout=120)
            assert task["status"] == "completed", task
            ids.append(task["task_id"])

    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(submit) for _ in range(2)]
        act()
        over = True
        for client in clients:
            client.result()
    rows = scene.harness.ask(_DELAYS, ids=ids)
    return [row["seconds"] for row in rows], [row["attempt"] for row in rows]


def _restart_all(scene: Scene) -> None:
    for kind in POOLS:
        for pid in scene.stack.pids(kind):
            is_back = partial(_is_back, scene, kind, old=pid, since=time.time())
            os.kill(pid, signal.SIGTERM)
            wait_until(is_back, 60, f"{kind} to be back")


def _is_back(scene: Scene, kind: str, *, old: int, since: float) -> bool:
    pids = scene.stack.pids(kind)
    rows = scene.harness.ask(
        "SELECT count(*) AS live FROM pools WHERE node LIKE %(node)s AND seen_at > to_timestamp(%(since)s)",
        node=f"{kind}.%",
        since=since,
    )
    return old not in pids and len(pids) == 2 and rows[0]["live"] == 2


def _flush(scene: Scene) -> None:
    with scene.harness.broker() as broker:
        broker.flushall()


def _planned(scene: Scene, ids: Sequence[str]) -> bool:
    sql = "SELECT count(*) AS planned FROM rounds WHERE task_id = ANY(%(ids)s)"
    return bool(scene.harness.ask(sql, ids=list(ids))[0]["planned"] == len(ids))


def _queued(scene: Scene) -> int:
    return int(scene.harness.ask("SELECT count(*) AS queued FROM steps WHERE state = 'queued'")[0]["queued"])


def _is_all_sent(scene: Scene) -> bool:
    """Return whether the broker has a message for every queued row."""
    with scene.harness.broker() as broker:
        return sum(broker.llen(key) for key in queue_keys(broker)) >= _queued(scene)


def _told(what: str, spans: Sequence[float], *, at_most: float) -> bool:
    holds = max(spans) <= at_most
    print(f"{what}: {_row(spans)} (target {at_most:g} s): {'holds' if holds else 'MISSED'}", flush=True)
    return holds


def _row(spans: Sequence[float]) -> str:
    return f"P50 {statistics.median(spans):.2f} s, max {max(spans):.2f} s, n {len(spans)}"


MEASURES: Final = {
    measure.__name__: measure
    for measure in (
        killed_worker,
        killed_child,
        emptied_redis,
        killed_postgres,
        rolling_restart,
        handed_back,
    )
}

if __name__ == "__main__":
    sys.exit(main())

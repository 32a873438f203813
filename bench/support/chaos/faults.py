"""The faults that chaos injects, by name, and the running work that each of them hit."""

import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from bench.support.chaos import broker as messages
from bench.support.chaos import victims
from bench.support.chaos.harness import Harness
from orchestrator.devserver.stack import Stack
from orchestrator.memory.steps import StepMessage
from orchestrator.models.arm_capability import ARMS
from orchestrator.queue import canvas
from orchestrator.queue.app import make_app
from orchestrator.settings import load
from tests.ledger import LEDGERS

POOLS: Final = (*(arm.process for arm in ARMS.values() if arm.has_workers), *LEDGERS)
PREFORK: Final = (*(arm.process for arm in ARMS.values() if arm.pool == "prefork"), LEDGERS[1])
_RUNNING: Final = """
SELECT id, attempt, arm, split_part(owner, ':', 2)::int AS pid
FROM steps
WHERE state = 'running'
"""
_WORK: Final = """
SELECT id, task_id, name, kind, arm, queue, priority, chord_id, round, spec
FROM steps
WHERE state IN ('running', 'queued', 'done')
ORDER BY (state = 'running') DESC, finished_at DESC NULLS LAST
LIMIT %(most)s
"""


@dataclass(frozen=True)
class Fault:
    """One injected fault: its name, time (time.time()), processes, and the (step id, attempt) pairs that it hit."""

    kind: str
    at: float
    hits: Sequence[tuple[str, int]] = ()
    pids: Sequence[int] = ()


@dataclass
class Arsenal:
    """Injects faults into one stack; `zombie_seconds` is longer than a lease."""

    stack: Stack
    harness: Harness
    chance: random.Random
    zombie_seconds: float
    committed: list[Fault] = field(default_factory=list)

    @property
    def quick(self) -> Mapping[str, Callable[[], None]]:
        """The faults that are injected one at a time; zombies and duplicates run beside them."""
        return {
            "kill_child": self.kill_child,
            "kill_worker": self.kill_worker,
            "kill_api": self.kill_api,
            "kill_sweeper": self.kill_sweeper,
            "freeze_redis": self.freeze_redis,
            "kill_redis": self.kill_redis,
            "empty_redis": self.empty_redis,
            "kill_postgres": self.kill_postgres,
            "delay_messages": self.delay_messages,
            "fill_redis": self.fill_redis,
        }

    def kill_child(self) -> None:
        """SIGKILL a child of a prefork pool, preferably one that runs a step."""
        pools = {
            pid: children
            for arm in PREFORK
            for pid in self.stack.pids(arm)
            if (children := victims.pool_children(pid))
        }
        busy = {row["pid"] for row in self._running()}
        everyone = [child for children in pools.values() for child in children]
        working = [child for child in everyone if child in busy]
        if everyone:
            self._kill("kill_child", [self.chance.choice(working or everyone)])

    def kill_worker(self) -> None:
        """SIGKILL a worker of any arm with its children, preferably one that runs a step."""
        busy = {row["pid"] for row in self._running()}
        trees = [victims.with_descendants(pid) for arm in POOLS for pid in self.stack.pids(arm)]
        working = [tree for tree in trees if busy & set(tree)]
        chosen = working if working and self.chance.random() < 0.9 else trees
        if chosen:
            self._kill("kill_worker", self.chance.choice(chosen))

    def kill_api(self) -> None:
        """SIGKILL the API: its main process or one of its workers."""
        for pid in self.stack.pids("web"):
            answering = victims.children(pid)
            main = not answering or self.chance.random() < 0.5
            self._kill("kill_api", victims.with_descendants(pid) if main else [self.chance.choice(answering)])

    def kill_sweeper(self) -> None:
        """SIGKILL the sweeper."""
        self._kill("kill_sweeper", self.stack.pids("sweeper"))

    def freeze_redis(self) -> None:
        """SIGSTOP the broker for some seconds: connections stay open without answers."""
        self._note("freeze_redis")
        self.harness.freeze_redis(seconds=self.chance.uniform(1, 7))

    def kill_redis(self) -> None:
        """SIGKILL the broker and start it again empty."""
        self._note("kill_redis")
        self.harness.kill_redis(away_seconds=self.chance.uniform(0, 3))

    def empty_redis(self) -> None:
        """FLUSHALL."""
        self._note("empty_redis")
        self._with_broker(lambda broker: broker.flushall())

    def kill_postgres(self) -> None:
        """SIGKILL all of Postgres and start it again."""
        self._note("kill_postgres")
        self.harness.kill_postgres(away_seconds=self.chance.uniform(0, 3))

    def duplicate_messages(self) -> None:
        """Duplicate waiting messages, and publish running, queued and finished work again."""
        rows = self.harness.ask(_WORK, most=20)
        self._note("duplicate_messages")
        self._with_broker(lambda broker: messages.duplicate(broker, most=20))
        with make_app(lambda: load(self.stack.environ)) as app:
            canvas.publish(app, [StepMessage(**row) for row in rows])

    def delay_messages(self) -> None:
        """Delay every message."""
        self._note("delay_messages")
        seconds = self.chance.uniform(0.5, 4)
        self._with_broker(lambda broker: messages.delay(broker, seconds=seconds))

    def fill_redis(self) -> None:
        """Fill the broker's memory, so that it refuses every write."""
        self._note("fill_redis")
        seconds = self.chance.uniform(0.5, 4)
        self._with_broker(lambda broker: messages.fill(broker, seconds=seconds))

    def raise_zombie(self) -> None:
        """SIGSTOP a worker with its children until after its lease, then continue it."""
        trees = [victims.with_descendants(pid) for arm in POOLS for pid in self.stack.pids(arm)]
        busy = {row["pid"] for row in self._running()}
        working = [tree for tree in trees if busy & set(tree)]
        if not (working or trees):
            return
        tree = self.chance.choice(working or trees)
        stopped = [pid for pid in tree if victims.send(pid, signal.SIGSTOP)]
        self._note("zombie", pids=stopped)
        try:
            time.sleep(self.zombie_seconds)
        finally:
            for pid in stopped:
                victims.send(pid, signal.SIGCONT)

    def _kill(self, kind: str, pids: Sequence[int]) -> None:
        killed = [pid for pid in pids if victims.send(pid, signal.SIGKILL)]
        if killed:
            self._note(kind, pids=killed)

    def _note(self, kind: str, *, pids: Sequence[int] = ()) -> None:
        """Record the fault with the work of its victims: the running rows that they own."""
        at = time.time()
        hits = [(row["id"], row["attempt"]) for row in self._running() if row["pid"] in pids] if pids else []
        self.committed.append(Fault(kind, at, hits, pids))

    def _running(self) -> list[dict[str, Any]]:
        return self.harness.ask(_RUNNING)

    def _with_broker(self, act: Callable[[Any], Any]) -> None:
        """Ignore errors of a broker that another fault made unavailable."""
        try:
            with self.harness.broker() as broker:
                act(broker)
        except RedisError:
            return

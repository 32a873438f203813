"""Times the exact lookup among many entries: compute the key, one round trip to Valkey, verify the signature."""

import random
import statistics
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import redis

from bench.workload.phrasing import noisily, plainly
from bench.workload.task import Task, draw_task
from orchestrator.cache.exact import CacheEntry, ResultCache, key_of
from orchestrator.models.task_contract import Contract
from orchestrator.settings import Settings

ENTRIES: Final = 100_000
LOOKUPS: Final = 5_000
ROUNDS: Final = 5
TARGET_MS: Final = 1.5
_TRIES: Final = 5
_SCOPES: Final = frozenset(("task:submit",))


def time_lookups(settings: Settings, *, seed: int) -> bool:
    """Print P50 and P95 of hits and of misses; return whether both P95 meet the target."""
    chance = random.Random(seed)
    cache = ResultCache(settings)
    tasks: dict[str, Task] = {}
    while len(tasks) < ENTRIES + LOOKUPS:
        task = draw_task(chance)
        tasks.setdefault(task.label, task)
    known, unknown = list(tasks.values())[:ENTRIES], list(tasks.values())[ENTRIES:]
    client = redis.Redis.from_url(settings.redis_url)
    before = client.info("memory")["used_memory"]
    _fill(cache, known)
    entry_bytes = (client.info("memory")["used_memory"] - before) / client.dbsize()
    print(
        f"{client.dbsize()} entries of {entry_bytes:.0f} bytes; key, trip and signature, medians of {ROUNDS} rounds:"
    )
    asked = list(zip(chance.sample(known, LOOKUPS), unknown, strict=True))
    rounds = [_undisturbed(cache, asked[start::ROUNDS], chance) for start in range(ROUNDS)]
    met = [_report(name, [one[place] for one in rounds]) for place, name in enumerate(("hit", "miss"))]
    print(f"P95 target {TARGET_MS:g} ms")
    return all(met)


class _Times(NamedTuple):
    p50: float
    p95: float
    cpu_p95: float


def _report(name: str, rounds: Sequence[_Times]) -> bool:
    p50, p95, cpu = (statistics.median(one[place] for one in rounds) for place in range(3))
    print(f"{name:>5} P50 {p50:.2f} ms, P95 {p95:.2f} ms (P95 of the client's CPU {cpu:.2f})")
    return p95 <= TARGET_MS


def quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Return P50 and P95 in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[len(ordered) // 2], 1000 * ordered[int(len(ordered) * 0.95)]


def _fill(cache: ResultCache, tasks: Sequence[Task]) -> None:
    for number, task in enumerate(tasks):
        contract = _contract(task, plainly(task, task.ways[0]))
        parts = cache.parts_of(contract, tenant="acme", scopes=_SCOPES)
        cache.put(CacheEntry(parts, f"task_{number:016}", key_of(parts)), seconds=3600)


def _undisturbed(
    cache: ResultCache, asked: Sequence[tuple[Task, Task]], chance: random.Random
) -> tuple[_Times, _Times]:
    """Time a round; repeat it if the cache skipped Valkey meanwhile, since its misses then cost nothing."""
    for _ in range(_TRIES):
        _fill(cache, [known for known, _ in asked])
        hits, misses = _Stopwatch(), _Stopwatch()
        for known, unknown in asked:
            hits.ask(cache, _contract(known, noisily(known, known.ways[0], chance)))
            misses.ask(cache, _contract(unknown, noisily(unknown, unknown.ways[0], chance)))
        if misses.found:
            raise RuntimeError(f"{misses.found} tasks that nobody asked for had an answer")
        if hits.found == len(asked):
            return hits.times(), misses.times()
        print(f"  {len(asked) - hits.found} of {len(asked)} entries not found: the round is void")
    raise RuntimeError(f"Valkey took more than 50 ms in each of {_TRIES} rounds; the machine is too busy")


class _Stopwatch:
    def __init__(self) -> None:
        self.found = 0
        self._wall: list[float] = []
        self._cpu: list[float] = []

    def ask(self, cache: ResultCache, contract: Contract) -> None:
        cpu_started, started = time.thread_time(), time.perf_counter()
        entry = cache.find(cache.parts_of(contract, tenant="acme", scopes=_SCOPES))
        self._wall.append(time.perf_counter() - started)
        self._cpu.append(time.thread_time() - cpu_started)
        self.found += entry is not None

    def times(self) -> _Times:
        return _Times(*quantiles(self._wall), quantiles(self._cpu)[1])


def _contract(task: Task, goal: str) -> Contract:
    return Contract(goal, constraints=dict(task.constraints))

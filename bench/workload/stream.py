"""A seeded stream of requests with Zipf-distributed tasks, traps (near misses), side effects and bursts."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate
from typing import Any, Final

from bench.workload.phrasing import noisily, plainly
from bench.workload.task import Change, Task, changed, changes_of, draw_task

# this many plain requests lie between a task and its trap, so that the task has been completed
_OLD_ENOUGH: Final = 100


class Kind(StrEnum):
    """The purpose of a request."""

    PLAIN = "plain"
    TRAP = "trap"
    EFFECT = "effect"


@dataclass(frozen=True)
class Mix:
    """The parameters of a stream.

    `fixed` is the share of requests with a task's first phrasing, verbatim; the others use any phrasing, with noise.
    `traps` and `effects` are shares of the requests outside bursts. `per_second` is the mean number of plain requests
    per second of the virtual clock, which arrive at random times.
    """

    requests: int
    tasks: int = 2000
    zipf: float = 1.0
    fixed: float = 0.7
    traps: float = 0.1
    effects: float = 0.05
    per_second: float = 1.0
    burst_every: int = 1000
    burst_size: int = 50
    seed: int = 1


@dataclass(frozen=True)
class Request:
    """One request. `at` is its time in seconds on the virtual clock; requests with one `label` share a result.

    `burst` is the number of its burst; `imitates` is the label of the popular task that a trap resembles, and `change`
    the difference between the two.
    """

    at: float
    goal: str
    constraints: dict[str, Any]
    label: str
    kind: Kind
    burst: int | None = None
    imitates: str | None = None
    change: Change | None = None


def stream(mix: Mix) -> Iterator[Request]:
    """Yield the requests in order of arrival; equal mixes give equal streams on every machine."""
    return _Stream(mix).requests()


class _Popularity:
    """Distinct tasks; the task of rank r is drawn in proportion to 1 / r ** zipf."""

    def __init__(self, count: int, zipf: float, chance: random.Random, *, effects: bool) -> None:
        tasks: dict[str, Task] = {}
        while len(tasks) < count:
            task = draw_task(chance, effects=effects)
            tasks.setdefault(task.label, task)
        self._tasks: Sequence[Task] = list(tasks.values())
        self._weights = list(accumulate(1 / rank**zipf for rank in range(1, count + 1)))

    def draw(self, chance: random.Random) -> Task:
        return chance.choices(self._tasks, cum_weights=self._weights)[0]


class _Stream:
    def __init__(self, mix: Mix) -> None:
        self._mix, self._chance = mix, random.Random(mix.seed)
        self._plain = _Popularity(mix.tasks, mix.zipf, self._chance, effects=False)
        self._effects = _Popularity(max(1, mix.tasks // 20), mix.zipf, self._chance, effects=True)
        self._asked: dict[Change, list[Task]] = {change: [] for change in Change}

    def requests(self) -> Iterator[Request]:
        at, made, bursts = 0.0, 0, 0
        per_second = self._mix.per_second / (1 - self._mix.traps - self._mix.effects)
        while made < self._mix.requests:
            at += self._chance.expovariate(per_second)
            if made // self._mix.burst_every > bursts:
                bursts += 1
                size = min(self._mix.burst_size, self._mix.requests - made)
                yield from [replace(self._plainly(at), burst=bursts)] * size
                made += size
            else:
                yield self._any(at)
                made += 1

    def _any(self, at: float) -> Request:
        roll = self._chance.random()
        if roll < self._mix.traps and self._ready():
            return self._trap(at)
        if roll >= 1 - self._mix.effects:
            return self._put(at, self._effects.draw(self._chance), kind=Kind.EFFECT)
        return self._plainly(at)

    def _plainly(self, at: float) -> Request:
        task = self._plain.draw(self._chance)
        for change in changes_of(task):
            self._asked[change].append(task)
        return self._put(at, task, kind=Kind.PLAIN)

    def _trap(self, at: float) -> Request:
        change = self._chance.choice(self._ready())
        hot = self._asked[change][self._chance.randrange(len(self._asked[change]) - _OLD_ENOUGH)]
        trap = self._put(at, changed(hot, change, self._chance), kind=Kind.TRAP)
        return replace(trap, imitates=hot.label, change=change)

    def _ready(self) -> Sequence[Change]:
        """Return the changes that apply to a task requested long enough ago to be cached."""
        return [change for change, asked in self._asked.items() if len(asked) > _OLD_ENOUGH]

    def _put(self, at: float, task: Task, *, kind: Kind) -> Request:
        if self._chance.random() < self._mix.fixed:
            goal = plainly(task, task.ways[0])
        else:
            goal = noisily(task, self._chance.choice(task.ways), self._chance)
        names = self._chance.sample(sorted(task.constraints), len(task.constraints))
        constraints = {name: task.constraints[name] for name in names}
        return Request(at, goal, constraints, task.label, kind)

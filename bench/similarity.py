"""Prints keys a second and the two error rates of `canonical_key` on seeded goals with labels known by construction.

Noise keeps the task and must keep the key; a mutation changes the task and must change the key. The guard is measured
on the same mutations: each one that it accepts costs a model call.
Run `python bench/similarity.py [--count 5000] [--seed 1]`.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence

from bench.workload.phrasing import noisily, plainly
from bench.workload.task import Change, changed, changes_of, draw_task
from orchestrator.similarity import canonical_key, known_difference


def report(seed: int, *, count: int) -> None:
    """Print the share of noise that lost its key, of mutations that kept it, and of those the guard let through."""
    chance = random.Random(seed)
    missed, wrong, passed = Counter[str](), Counter[str](), Counter[str]()
    variants = mutants = 0
    for _ in range(count):
        task = draw_task(chance, effects=chance.random() < 0.1)
        way = chance.choice(task.ways)
        text = plainly(task, way)
        key = canonical_key(text)
        variants += 1
        put_otherwise = noisily(task, way, chance)
        missed[f"{text!r} / {put_otherwise!r}"] += canonical_key(put_otherwise) != key
        for change in changes_of(task):
            if change is Change.CONSTRAINT:
                continue
            mutant = changed(task, change, chance)
            for other in (noisily(mutant, way, chance) for way in mutant.ways):
                mutants += 1
                wrong[f"{change}: {text!r} / {other!r}"] += canonical_key(other) == key
                passed[change] += known_difference(text, other) is None
    print(
        f"lost     {missed.total()} of {variants} = {missed.total() / variants:.4f} of noise variants changed the key"
    )
    print(f"wrong    {wrong.total()} of {mutants} = {wrong.total() / mutants:.5f} of mutations kept the key")
    print(
        f"guard    {passed.total()} of {mutants} = {passed.total() / mutants:.4f} of mutations left to the judge"
    )
    for title, cases in (("lost", missed), ("wrong", wrong), ("left to the judge", passed)):
        for case, times in cases.most_common(8):
            if times:
                print(f"  {title}: {case} ({times})")


def speed(seed: int, *, count: int) -> None:
    """Print keys a second of CPU time over goals in noise, and over goals of 10,000 characters."""
    chance = random.Random(seed)
    tasks = [draw_task(chance) for _ in range(count)]
    goals = [noisily(task, chance.choice(task.ways), chance) for task in tasks]
    short = min(_seconds(goals) for _ in range(3)) / count
    long = min(_seconds(["; ".join(goals)[:10_000]]) for _ in range(3))
    print(
        f"speed    {1 / short:.0f} keys/s, {short * 1e6:.0f} us a goal, {long * 1e3:.1f} ms for 10,000 characters"
    )


def _seconds(goals: Sequence[str]) -> float:
    started = time.process_time()
    for text in goals:
        canonical_key(text)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="goals")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report(arguments.seed, count=arguments.count)
    speed(arguments.seed, count=arguments.count)


if __name__ == "__main__":
    main()

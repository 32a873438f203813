"""Over streams of goals: noise keeps the key, and every change of the task changes it."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.workload.phrasing import noisily, plainly
from bench.workload.slot import in_words
from bench.workload.task import Change, Task, changed, changes_of, draw_task
from orchestrator.cache.exact import key_of, key_parts
from orchestrator.models.task_contract import Contract
from orchestrator.similarity import canonical_key, known_difference

SEEDS = st.integers(0, 2**32)
IDS = st.from_regex(
    r"[a-z]{1,6}_[A-Za-z]{1,6}|src/[A-Za-z]{1,6}\.py|#[0-9]{1,6}|[0-9]{1,3}(\.[0-9]{1,3}){3}", fullmatch=True
)
# a constraint is part of the cache key, not of the goal; the cache key is tested below
IN_GOAL = [change for change in Change if change is not Change.CONSTRAINT]


@settings(max_examples=300)
@given(SEEDS)
def test_noise_keeps_the_key(seed: int) -> None:
    chance = random.Random(seed)
    task = draw_task(chance, effects=chance.random() < 0.1)
    way = chance.choice(task.ways)

    goal = noisily(task, way, chance)

    assert canonical_key(goal) == canonical_key(plainly(task, way)), goal


@settings(max_examples=300)
@given(SEEDS)
def test_a_changed_task_has_another_key_under_any_noise(seed: int) -> None:
    chance = random.Random(seed)
    task = draw_task(chance, effects=chance.random() < 0.1)
    asked = {canonical_key(noisily(task, way, chance)) for way in task.ways}

    for change in changes_of(task):
        if change in IN_GOAL:
            other = changed(task, change, chance)
            for way in other.ways:
                goal = noisily(other, way, chance)
                assert canonical_key(goal) not in asked, (task.ways, goal)


@settings(max_examples=200)
@given(SEEDS)
def test_each_task_has_exactly_one_cache_key(seed: int) -> None:
    chance = random.Random(seed)
    task = draw_task(chance)
    way = chance.choice(task.ways)
    key = cache_key(task, plainly(task, way))

    assert cache_key(task, noisily(task, way, chance), reverse=True) == key
    for change in changes_of(task):
        other = changed(task, change, chance)
        assert all(cache_key(other, noisily(other, put, chance)) != key for put in other.ways), change


def cache_key(task: Task, goal: str, *, reverse: bool = False) -> str:
    """Return the task's cache key, with its constraints in original or reverse order."""
    names = sorted(task.constraints, reverse=reverse)
    contract = Contract(goal, constraints={name: task.constraints[name] for name in names})
    return key_of(key_parts(contract, tenant="acme", scopes=["task:submit"], environment="e"))


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_two_numbers_have_two_keys(one: int, other: int) -> None:
    goals = [f"list the first {number:{form}} errors" for number in (one, other) for form in ("d", ",d")]
    keys = [canonical_key(goal) for goal in goals]

    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert (keys[0] == keys[2]) == (one == other)


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_number_in_words_has_the_key_of_that_number_only(spoken: int, written: int) -> None:
    one = canonical_key(f"list the first {in_words(spoken)} errors")
    other = canonical_key(f"list the first {written} errors")

    assert (one == other) == (spoken == written)


@given(IDS, IDS)
def test_two_identifiers_have_two_keys(one: str, other: str) -> None:
    keys = {canonical_key(f"explain {name} to the team") for name in (one, other)}

    assert (len(keys) == 1) == (one == other)


@settings(max_examples=300)
@given(SEEDS)
def test_noise_makes_no_known_difference(seed: int) -> None:
    chance = random.Random(seed)
    task = draw_task(chance)
    way = chance.choice(task.ways)

    assert known_difference(plainly(task, way), noisily(task, way, chance)) is None

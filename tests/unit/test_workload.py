"""The benchmark's request stream is seeded, has the requested mix, and is labelled correctly."""

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from bench.workload.phrasing import noisily, plainly
from bench.workload.slot import draw, in_words, near_miss
from bench.workload.stream import Kind, Mix, Request, stream
from bench.workload.task import INTENTS, Change, changed, changes_of, draw_task, slots_in

MIX = Mix(requests=6000, tasks=500)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """The requests of MIX."""
    return list(stream(MIX))


def test_equal_seeds_make_equal_streams_and_other_seeds_others(requests: list[Request]) -> None:
    assert list(stream(MIX)) == requests
    assert list(stream(replace(MIX, seed=2))) != requests


def test_every_phrasing_of_an_intent_has_the_same_slots() -> None:
    assert len(INTENTS) >= 34
    for intent in INTENTS:
        assert {frozenset(slots_in(way)) for way in intent.phrasings} == {frozenset(intent.slots)}, (
            intent.name
        )
        assert len(set(intent.phrasings)) == len(intent.phrasings) >= 2


def test_every_swap_of_a_twist_applies_and_keeps_the_slots() -> None:
    for intent in INTENTS:
        for twist, swaps in intent.twists.items():
            for swap in swaps:
                old, new = swap.split(" -> ")
                ways = [way.replace(old, new) for way in intent.phrasings if old in way]
                assert ways, f"no phrasing of {intent.name} has {old!r}"
                assert all(slots_in(way) == set(intent.slots) for way in ways)
            assert not set(intent.ways(Change(twist))) & set(intent.phrasings)


def test_two_classes_never_share_a_goal() -> None:
    chance = random.Random(3)
    labels = defaultdict(set)
    for _ in range(3000):
        task = draw_task(chance, effects=chance.random() < 0.1)
        for asked in (task, *(changed(task, change, chance) for change in changes_of(task))):
            for way in asked.ways:
                labels[plainly(asked, way), repr(asked.constraints)].add(asked.label)

    assert all(len(found) == 1 for found in labels.values())


def test_a_change_makes_a_task_of_another_class() -> None:
    chance = random.Random(4)

    for _ in range(2000):
        task = draw_task(chance)
        for change in changes_of(task):
            assert changed(task, change, chance).label != task.label


@pytest.mark.parametrize("slot", sorted({slot for intent in INTENTS for slot in intent.slots}))
def test_a_near_miss_is_another_value(slot: str) -> None:
    chance = random.Random(5)

    for _ in range(200):
        held = draw(slot, chance)
        assert near_miss(slot, held, chance) != held


def test_noise_keeps_slot_values_verbatim() -> None:
    chance = random.Random(6)

    for _ in range(2000):
        task = draw_task(chance)
        goal = noisily(task, chance.choice(task.ways), chance)
        held = [value for slot, value in task.held.items() if slot != "n"]
        assert all(value in goal for value in held), (task.held, goal)
        if "n" in task.held:
            assert task.held["n"] in goal or in_words(int(task.held["n"])) in goal


def test_a_trap_is_never_in_the_class_of_what_it_imitates(requests: list[Request]) -> None:
    traps = [request for request in requests if request.kind is Kind.TRAP]

    assert {trap.change for trap in traps} == set(Change)
    assert all(trap.imitates not in (None, trap.label) for trap in traps)


def test_a_trap_imitates_an_earlier_request(requests: list[Request]) -> None:
    asked = set()
    for request in requests:
        assert request.imitates is None or request.imitates in asked
        asked.add(request.label)


def test_traps_and_side_effects_have_their_shares(requests: list[Request]) -> None:
    single = [request for request in requests if request.burst is None]
    kinds = Counter(request.kind for request in single)

    assert kinds[Kind.TRAP] / len(single) == pytest.approx(MIX.traps, abs=0.02)
    assert kinds[Kind.EFFECT] / len(single) == pytest.approx(MIX.effects, abs=0.015)
    changes = Counter(request.change for request in single if request.change)
    assert min(changes.values()) > 0.5 * max(changes.values())


def test_the_fixed_share_uses_the_first_phrasing_verbatim() -> None:
    for fixed in (0.0, 0.7, 1.0):
        asked = list(stream(replace(MIX, fixed=fixed)))
        goals: dict[str, Counter[str]] = defaultdict(Counter)
        for request in asked:
            goals[request.label][request.goal] += 1
        label, hottest = max(goals.items(), key=lambda item: item[1].total())
        share = hottest.most_common(1)[0][1] / hottest.total()

        assert share == pytest.approx(max(fixed, 0.0), abs=0.12), label


def test_popularity_follows_zipfs_law() -> None:
    for zipf in (0.6, 1.0):
        asked = stream(Mix(requests=20_000, tasks=500, zipf=zipf, traps=0, effects=0, burst_size=1))
        counts = sorted(Counter(request.label for request in asked).values(), reverse=True)

        total = sum(1 / rank**zipf for rank in range(1, 501))
        assert sum(counts[:50]) / 20_000 == pytest.approx(
            sum(1 / rank**zipf for rank in range(1, 51)) / total, abs=0.03
        )


def test_a_burst_repeats_one_request_at_one_time(requests: list[Request]) -> None:
    bursts = defaultdict(list)
    for request in requests:
        if request.burst is not None:
            bursts[request.burst].append(request)

    assert len(bursts) == 5
    assert all(len(burst) == MIX.burst_size for burst in bursts.values())
    assert all(len({(item.at, item.goal, item.label) for item in burst}) == 1 for burst in bursts.values())


def test_time_increases_at_the_rate_of_the_mix(requests: list[Request]) -> None:
    times = [request.at for request in requests if request.burst is None]
    plain = sum(request.kind is Kind.PLAIN and request.burst is None for request in requests)

    assert times == sorted(times)
    assert plain / times[-1] == pytest.approx(MIX.per_second, rel=0.1)


def test_constraints_come_in_any_order(requests: list[Request]) -> None:
    orders = defaultdict(set)
    for request in requests:
        orders[request.label].add(tuple(request.constraints))

    assert any(len(written) > 1 for written in orders.values())
    assert all(len({frozenset(names) for names in written}) == 1 for written in orders.values())

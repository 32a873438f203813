"""The benchmark's figures: ceilings, hit rates by layer, wrong hits and their bound."""

from dataclasses import replace

import pytest

from bench.workload.dictionary import answer, repeatable
from bench.workload.outcome import RAN, Outcome, ordinary, shares, wilson_upper
from bench.workload.stream import Kind, Mix, Request, stream

PLAIN = Request(at=0.0, goal="list it", constraints={}, label="a", kind=Kind.PLAIN)


def test_a_hit_with_another_class_or_with_effects_is_wrong() -> None:
    effect = replace(PLAIN, kind=Kind.EFFECT)

    assert Outcome(PLAIN, "exact", "b", was_repeatable=True).is_wrong
    assert Outcome(effect, "exact", "a", was_repeatable=True).is_wrong
    assert not Outcome(PLAIN, "exact", "a", was_repeatable=True).is_wrong
    assert not Outcome(effect, RAN, "a", was_repeatable=True).is_wrong


def test_shares_are_relative_to_all_requests() -> None:
    found = shares(
        [
            Outcome(PLAIN, "exact", "a", was_repeatable=True),
            Outcome(PLAIN, "coalesced", "a", was_repeatable=True),
            Outcome(PLAIN, RAN, "a", was_repeatable=True),
            Outcome(PLAIN, RAN, "a", was_repeatable=False),
        ]
    )

    assert found.by_layer == {"coalesced": 0.25, "exact": 0.25}
    assert (found.ceiling, found.hit_rate) == (0.75, 0.5)
    assert found.capture == pytest.approx(2 / 3)


def test_a_burst_counts_once_and_a_trap_never() -> None:
    burst = [Outcome(replace(PLAIN, burst=1), RAN, "a", was_repeatable=False)] * 50
    trap = Outcome(replace(PLAIN, kind=Kind.TRAP), RAN, "a", was_repeatable=False)
    alone = Outcome(PLAIN, RAN, "a", was_repeatable=False)

    assert ordinary([alone, *burst, trap, alone]) == [alone, burst[0], alone]


def test_a_perfect_cache_serves_a_class_while_it_runs_and_for_the_ttl() -> None:
    asked = [replace(PLAIN, goal=f"list it {at}", at=at) for at in (0.0, 10.0, 20.0, 119.0, 120.0)]
    effect = replace(PLAIN, kind=Kind.EFFECT, at=121.0)

    could = repeatable([*asked, effect], ttl_seconds=100, service_seconds=20)

    assert could == [False, True, True, True, False, False]


@pytest.mark.parametrize(("wrong", "trials"), [(0, 300), (1, 100), (30, 100), (99, 100)])
def test_the_upper_bound_solves_wilsons_equation(wrong: int, trials: int) -> None:
    bound, seen = wilson_upper(wrong, trials), wrong / trials

    assert bound > seen
    assert (bound - seen) ** 2 == pytest.approx(1.644854**2 * bound * (1 - bound) / trials)


def test_without_trials_the_upper_bound_is_one() -> None:
    assert wilson_upper(0, 0) == 1.0


def test_exact_keys_never_serve_another_class() -> None:
    mix = Mix(requests=3000, tasks=200, fixed=0.5)

    outcomes = answer(list(stream(mix)), ttl_seconds=3600, service_seconds=20)

    assert sum(outcome.is_hit for outcome in outcomes) > 1500
    assert not any(outcome.is_wrong for outcome in outcomes)


def test_with_one_phrasing_exact_keys_reach_the_ceiling() -> None:
    mix = Mix(requests=3000, tasks=200, fixed=1.0)

    found = shares(ordinary(answer(list(stream(mix)), ttl_seconds=3600, service_seconds=20)))

    assert found.capture == pytest.approx(1.0)


def test_a_result_older_than_the_ttl_runs_again() -> None:
    requests = [replace(PLAIN, at=at) for at in (0.0, 10.0, 25.0, 119.0, 121.0)]

    outcomes = answer(requests, ttl_seconds=100, service_seconds=20)

    assert [outcome.layer for outcome in outcomes] == [RAN, "coalesced", "exact", "exact", RAN]

"""A step is routed to the best available arm that can do it, and each part of the score can decide."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.models.plan import Offer, PlanStep
from orchestrator.router import ArmState, Route, Router

FIRST, SECOND = Offer("first", "look"), Offer("second", "look")
EQUAL = {"successes": 50, "attempts": 100, "load": 2, "slots": 4, "latency_ms": 100.0, "cost_tier": 3}


def look(name: str = "look", *after: str, offers: Sequence[Offer] = (FIRST, SECOND), **more: Any) -> PlanStep:
    return PlanStep(
        id=name, arm=FIRST.arm, action=FIRST.action, depends_on=after, offers=tuple(offers), **more
    )


def state(arm: str, **more: Any) -> ArmState:
    return ArmState(arm, **{**EQUAL, **more})


def routed(first: ArmState | None, second: ArmState | None, step: PlanStep | None = None) -> Route:
    states = {found.arm: found for found in (first, second) if found}
    return Router(states).route(step or look())


def test_of_equal_arms_the_preferred_one_does_the_step() -> None:
    chosen = routed(state("first"), state("second"))

    assert chosen.offer == FIRST
    assert chosen.scores["first.look"] == chosen.scores["second.look"]


@pytest.mark.parametrize(
    ("part", "better"),
    [
        ("success", {"successes": 60}),
        ("availability", {"load": 1}),
        ("availability", {"slots": 5}),
        ("speed", {"latency_ms": 90.0}),
        ("cost", {"cost_tier": 2}),
    ],
)
def test_each_part_of_the_score_can_decide_alone(part: str, better: dict[str, Any]) -> None:
    chosen = routed(state("first"), state("second", **better))

    first, second = chosen.scores["first.look"], chosen.scores["second.look"]
    assert chosen.offer == SECOND
    assert [name for name in first if first[name] != second[name]] == [part, "total"]
    assert "best of 2" in chosen.reason


def test_the_score_has_the_published_weights() -> None:
    chosen = routed(
        state("first", successes=10, attempts=10, load=1, slots=4, cost_tier=3, latency_ms=200.0),
        state("second", latency_ms=100.0),
    )

    parts = chosen.scores["first.look"]
    assert parts == {
        "success": round(0.5 * 19 / 20, 4),
        "availability": round(0.3 / 1.25, 4),
        "cost": 0.05,
        "speed": 0.05,
        "total": 0.815,
    }


def test_an_arm_that_was_never_used_counts_as_nine_successes_in_ten_and_as_fast_as_the_fastest() -> None:
    new = {"successes": 0, "attempts": 0, "latency_ms": None}

    chosen = routed(state("first", successes=0, attempts=1000), state("second", **new))

    assert chosen.offer == SECOND
    assert (chosen.scores["second.look"]["success"], chosen.scores["second.look"]["speed"]) == (0.45, 0.1)


@pytest.mark.parametrize("reason", ["no live worker", "its circuit breaker is open"])
def test_the_next_arm_is_taken_when_the_best_gets_no_steps(reason: str) -> None:
    chosen = routed(state("first", successes=100, unavailable=reason), state("second"))

    assert chosen.offer == SECOND
    assert chosen.scores["first.look"] == {"excluded": reason}
    assert "the only one that can" in chosen.reason


def test_a_step_waits_for_its_preferred_arm_when_none_is_available() -> None:
    chosen = routed(state("first", unavailable="no live worker"), None)

    assert (chosen.offer, chosen.score) == (FIRST, 0.0)
    assert chosen.reason.startswith("waiting for arm first")
    assert [parts["excluded"] for parts in chosen.scores.values()] == ["no live worker"] * 2


def test_a_pinned_step_waits_although_another_arm_is_available() -> None:
    pinned = look(offers=())

    chosen = routed(state("first", unavailable="no live worker"), state("second"), pinned)

    assert chosen.offer == FIRST
    assert list(chosen.scores) == ["first.look"]


def test_the_trace_says_why_an_arm_was_no_candidate() -> None:
    step = look(offers=(), excluded={"second.look": "inputs.query: is required"})

    chosen = routed(state("first"), state("second"), step)

    assert chosen.offer == FIRST
    assert chosen.scores["second.look"] == {"excluded": "inputs.query: is required"}


def test_steps_that_start_together_are_spread_over_the_arms() -> None:
    router = Router({"first": state("first"), "second": state("second")})

    together = [router.route(look(f"s{number}")).offer for number in range(4)]
    after = [router.route(look("t", "s0")).offer, router.route(look("u", "t")).offer]

    assert together == [FIRST, SECOND, FIRST, SECOND]
    assert after == [FIRST, FIRST]

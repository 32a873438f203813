"""A step is routed to the best available arm, with the reason recorded."""

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.plan import PlanStep
from orchestrator.router import ArmCandidate, route

LINT = PlanStep(id="lint", arm="executor", action="lint")


def candidate(arm: str, **more: object) -> ArmCandidate:
    offered = {"capabilities": ARMS[arm].capabilities, "cost_tier": ARMS[arm].cost_tier, "available": True}
    return ArmCandidate(arm, **{**offered, **more})  # type: ignore[arg-type]  # a test's shorthand


def test_only_an_arm_with_the_action_and_all_capabilities_is_chosen() -> None:
    chosen = route(LINT, [candidate(arm) for arm in ARMS])

    assert chosen.arm == "executor"
    assert {arm for arm, parts in chosen.scores.items() if "excluded" in parts} == set(ARMS) - {"executor"}


def test_an_arm_that_lacks_a_capability_is_excluded_whatever_its_score() -> None:
    chosen = route(LINT, [candidate("executor", capabilities=("timer",), successes=1000, attempts=1000)])

    assert chosen.scores["executor"] == {"excluded": "does not offer lint"}
    assert chosen.reason.startswith("waiting for arm executor")


def test_a_step_waits_for_its_arm_when_none_is_available() -> None:
    chosen = route(LINT, [candidate("executor", available=False)])

    assert (chosen.arm, chosen.score) == ("executor", 0.0)
    assert "waiting for arm executor" in chosen.reason
    assert chosen.scores["executor"] == {"excluded": "no live worker"}


def test_the_score_has_the_published_weights() -> None:
    parts = route(LINT, [candidate("executor", successes=10, attempts=10, load=0.25, cost_tier=3)]).scores[
        "executor"
    ]

    assert parts["capability"] == 0.4
    assert parts["success"] == round(0.3 * 19 / 20, 4)
    assert parts["availability"] == round(0.2 * 0.75, 4)
    assert parts["cost"] == 0.05
    assert parts["total"] == 0.885


def test_a_few_failures_lower_an_arms_score_little_and_many_a_lot() -> None:
    def score(successes: int, attempts: int) -> float:
        return route(LINT, [candidate("executor", successes=successes, attempts=attempts)]).score

    assert score(0, 0) - 0.05 < score(0, 1) < score(0, 0)
    assert score(0, 1000) < score(0, 0) - 0.25
    assert score(90, 100) == score(0, 0)


def test_a_busy_arm_scores_less_than_an_idle_one() -> None:
    assert (
        route(LINT, [candidate("executor", load=1.0)]).score
        < route(LINT, [candidate("executor", load=0.0)]).score
    )

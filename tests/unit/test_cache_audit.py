"""What an audit concludes, and when a layer has been wrong too often."""

from typing import Any

import pytest

from orchestrator.cache.audit import Hit, Rerun, Standing, compare, rerun_contract, wilson_upper
from orchestrator.task_contract import CACHE_MODES, Contract, Priority

_QUESTION = "The result gives the same answer, in every particular, as this one: 42"


def rerun(
    result: dict[str, Any] | None,
    *,
    status: str = "completed",
    code: str | None = None,
    met: bool | None = None,
) -> Rerun:
    verdict = {"findings": [{"criterion": _QUESTION, "met": met, "explanation": "so it is"}]}
    error = {"code": code} if code else None
    return Rerun("t", "acme", "exact", {"data": {"n": 42, "seconds": 0.5}}, status, result, error, verdict)


@pytest.mark.parametrize(
    ("one", "agrees"),
    [
        (rerun({"data": {"n": 42, "seconds": 7.1}}), True),
        (rerun({"data": {"n": 43}}), None),
        (rerun({"data": {"n": 43}}, met=True), True),
        (rerun({"data": {"n": 43}}, met=False), False),
        (rerun({"data": {"n": 43}}, status="failed", code="validation_failed"), False),
        (rerun({"data": {"n": 43}}, status="failed", code="validation_failed", met=True), True),
        (rerun({"data": {"n": 42}}, status="failed", code="budget_exceeded"), None),
        (rerun(None, status="cancelled", code="cancelled"), None),
    ],
    ids=[
        "equal",
        "differs",
        "same by judge",
        "other by judge",
        "rejected",
        "judge first",
        "broke",
        "cancelled",
    ],
)
def test_a_hit_is_right_if_running_again_gives_the_same(one: Rerun, agrees: bool | None) -> None:
    assert compare(one).agrees is agrees


@pytest.mark.parametrize(
    ("wrong", "audited", "bound"),
    [(0, 0, 1.0), (0, 300, 0.0126), (0, 600, 0.0064), (1, 100, 0.0545), (5, 100, 0.1118), (100, 100, 1.0)],
)
def test_wilsons_bound_is_the_published_one(wrong: int, audited: int, bound: float) -> None:
    assert wilson_upper(wrong, audited) == pytest.approx(bound, abs=5e-5)


@pytest.mark.parametrize(
    ("standing", "is_too_wrong"),
    [
        (Standing(audited=0, wrong=0, reports=0), False),
        (Standing(audited=40, wrong=0, reports=0), False),
        (Standing(audited=40, wrong=1, reports=0), True),
        (Standing(audited=600, wrong=1, reports=0), False),
        (Standing(audited=600, wrong=3, reports=0), True),
        (Standing(audited=5_000, wrong=2, reports=2), True),
    ],
)
def test_a_layer_goes_off_once_it_was_wrong_and_may_be_wrong_too_often(
    standing: Standing, *, is_too_wrong: bool
) -> None:
    assert standing.is_too_wrong is is_too_wrong


def test_a_rerun_asks_the_same_apart_and_not_urgently() -> None:
    asked = Contract(goal="g", priority=Priority.CRITICAL, constraints=["c"], callback_url="https://x.org/")

    again = rerun_contract(Hit("task_1", "acme", "exact", "task_0", asked.to_record(), "42"))

    assert (again.goal, again.constraints, again.priority) == ("g", ["c"], Priority.LOW)
    assert (again.cache, again.callback_url, again.metadata) == (
        CACHE_MODES["bypass"],
        None,
        {"audit_of": "task_1"},
    )
    assert [criterion.text for criterion in again.acceptance_criteria] == [_QUESTION]
    assert again.budget.max_repairs == 0

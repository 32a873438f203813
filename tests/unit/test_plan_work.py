"""The work of checking a plan is bounded: tenants write the schemas of their arms and the plans."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import InvalidPlan
from orchestrator.planner.check import check_plan
from orchestrator.planner.schema_places import bounded_work, schemas_at

LIST = {"type": "array", "items": {"type": "integer"}}


def offer(
    monkeypatch: pytest.MonkeyPatch, *, arms: int, items: Mapping[str, Any], output: Mapping[str, Any]
) -> None:
    """Let so many arms of the tenant offer the action `look`, whose input is a list `items`."""
    retriever = ARMS["retriever"]
    look = replace(
        next(iter(retriever.actions.values())),
        name="look",
        capabilities=("look",),
        attachments="none",
        met=(),
        input_schema={"type": "object", "properties": {"items": items}},
        output_schema=output,
    )
    own = {
        f"acme/arm{number}": replace(
            retriever, arm_id=f"acme/arm{number}", tenant="acme", actions={"look": replace(look)}
        )
        for number in range(arms)
    }
    monkeypatch.setattr(ARMS, "_static", {**ARMS, **own})


def test_references_between_steps_that_many_arms_can_do_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 references took 28 CPU seconds, and a request has room for 20,000."""
    large = {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(380)}}
    offer(monkeypatch, arms=20, items=LIST, output=large)
    references = [{"$from": "a", "pointer": "/p1"}] * 2_000
    steps = [{"id": "a", "action": "look"}, {"id": "b", "action": "look", "inputs": {"items": references}}]
    began = time.process_time()

    plan = check_plan({"steps": steps}, tenant="acme")

    assert plan.steps[1].arm.startswith("acme/arm")
    assert time.process_time() - began < 15


def test_all_inputs_of_a_plan_together_may_cost_what_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    costly = {"allOf": [LIST] * 40}
    offer(monkeypatch, arms=1, items=costly, output={"type": "object"})
    steps = [
        {"id": f"s{number}", "arm": "arm0", "action": "look", "inputs": {"items": [1] * 100}}
        for number in range(30)
    ]

    assert check_plan({"steps": steps[:2]}, tenant="acme")
    with pytest.raises(InvalidPlan, match="too much work"):
        check_plan({"steps": steps}, tenant="acme")


def test_what_is_not_compared_any_more_counts_as_fitting() -> None:
    schema = {"anyOf": [{"type": "object", "properties": {"a": {}}, "additionalProperties": False}] * 100}

    with bounded_work():
        assert schemas_at(schema, ["b"]) == []
        for _ in range(2_000):
            schemas_at(schema, ["a", "a"])
        assert schemas_at(schema, ["b"]) == [{}]

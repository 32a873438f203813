"""Plans of timers, and the faults that the check finds in them."""

from typing import Any

import pytest

from orchestrator.models.errors import InvalidPlan
from orchestrator.models.task_contract import Budget, Contract
from orchestrator.planner.check import check_plan

SHA = "a" * 64


def wait(name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": 1},
        "depends_on": [*after],
        **more,
    }


def limited(tokens: int) -> Contract:
    return Contract(goal="g", budget=Budget(max_tokens=tokens))


def faults_of(plan: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidPlan) as refused:
        check_plan(plan, **more)
    return {fault["field"]: fault["message"] for fault in refused.value.details["errors"]}

"""Which step calls may be memoized, and how long a result with a memoized step is fresh."""

import pytest

from orchestrator.cache.admission import ExecutedAction, admit
from orchestrator.cache.step_memo import is_repeatable
from orchestrator.models.arm_capability import ARMS, arm_of
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.registry.registration import read_registration


def test_only_deterministic_actions_without_side_effects_are_repeatable() -> None:
    repeatable = {
        (arm.arm_id, name)
        for arm in ARMS.values()
        for name, action in arm.actions.items()
        if is_repeatable(action)
    }

    assert ("retriever", "collect") in repeatable
    assert ("executor", "wait") not in repeatable
    for arm, name in repeatable:
        action = ARMS[arm].actions[name]
        assert action.deterministic
        assert action.effects != "write"
        assert action.max_age_seconds != 0


@pytest.mark.parametrize(("age", "fresh"), [(0, 3600), (86_000, 400), (90_000, 0)])
def test_a_result_is_fresh_no_longer_than_its_memoized_step(age: float, fresh: int) -> None:
    script = ExecutedAction("executor", "script", StepState.DONE, age_seconds=age)

    admitted = admit(
        Contract(goal="g"), Plan(()), Verdict(Decision.PASSED, 1.0), executed=[script], ttl_seconds=3600
    )

    assert (admitted.is_shared, admitted.fresh_seconds) == (True, fresh)


def test_a_result_of_a_registered_arm_is_reused_only_if_the_arm_says_for_how_long() -> None:
    look = {"description": "Looks at things.", "effects": "none"}
    arm = {"arm_id": "own", "description": "Looks at things.", "url": "https://arms.example/own"}

    record = read_registration({**arm, "actions": {"look": look, "name": {**look, "max_age_seconds": 60}}})

    actions = arm_of(record).actions
    assert not is_repeatable(actions["look"])
    assert is_repeatable(actions["name"])

"""The registry is sound: every contract can be used, every arm is found, every change shows in the digest."""

import shutil
from pathlib import Path

import pytest

from orchestrator.models import arm_capability
from orchestrator.models.arm_capability import (
    ALL_QUEUES,
    ARMS,
    REGISTRY,
    canonical_arm,
    digest_of,
    queue_of,
    registry_digest,
)
from orchestrator.rules.json_schema import schema_faults
from workers.arms.base import ActionArm, load_arm


def test_the_arms_are_those_that_clients_know_each_on_its_queue() -> None:
    assert {arm: queue_of(arm) for arm in ARMS} == {
        "planner": "planner",
        "retriever": "arm.retriever",
        "coder": "arm.coder",
        "executor": "arm.executor",
        "safety-guardian": "arm.guardian",
        "judge": "judge",
    }
    assert set(ALL_QUEUES) == {queue_of(arm) for arm in ARMS}
    assert ARMS["coder"].endpoint == "celery://arm.coder"
    assert canonical_arm("guardian") == "safety-guardian"


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.arm_id)
def test_an_arm_keeps_the_shape_that_client_libraries_parse(arm: arm_capability.ArmCapability) -> None:
    assert 3 <= len(arm.name) <= 50
    assert 10 <= len(arm.description) <= 200
    assert arm.capabilities
    assert 1 <= arm.cost_tier <= 5
    assert arm.pool in {"threads", "prefork"}
    assert len(arm.input_schema["oneOf"]) == len(arm.actions)


@pytest.mark.parametrize(
    "action",
    [action for arm in ARMS.values() for action in arm.actions.values()],
    ids=lambda action: action.name,
)
def test_a_contract_can_be_checked_and_refuses_unknown_members(action: arm_capability.Action) -> None:
    assert schema_faults(action.input_schema) == schema_faults(action.output_schema) == []
    assert action.input_schema["additionalProperties"] is False
    assert action.effects in {"none", "read", "write"}
    assert action.attachments in {"none", "one", "any"}
    assert action.timeout_seconds > 0


def test_every_action_of_a_plan_s_arm_has_behaviour() -> None:
    for arm in ARMS.values():
        if arm.in_plans:
            behaviour = load_arm(arm.arm_id)
            assert isinstance(behaviour, ActionArm)
            assert set(behaviour.actions) == set(arm.actions)


def test_a_changed_recipe_or_contract_shows_in_the_digest(tmp_path: Path) -> None:
    copy = tmp_path / "registry"
    shutil.copytree(REGISTRY, copy)
    same = digest_of(copy)
    recipe = copy / "recipes" / "scan_files.json"

    recipe.write_text(recipe.read_text().replace("1.0.0", "1.0.1"))

    assert same == registry_digest()
    assert digest_of(copy) != same

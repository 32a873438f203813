"""The registry: every contract is valid, every arm can be loaded, every change changes the digest."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models import arm_capability
from orchestrator.models.arm_capability import (
    ALL_QUEUES,
    ARMS,
    REMOTE_QUEUE,
    canonical_arm,
    digest_of,
    queue_of,
    registry_digest,
)
from orchestrator.models.errors import SettingsError
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import REGISTRY
from orchestrator.rules.schema_check import schema_faults
from workers.arms.base import ActionArm, load_arm


def test_clients_find_the_same_arms_each_on_its_queue() -> None:
    assert {arm: queue_of(arm) for arm in ARMS} == {
        "planner": "planner",
        "retriever": "arm.retriever",
        "coder": "arm.coder",
        "executor": "arm.executor",
        "safety-guardian": "arm.guardian",
        "judge": "judge",
        "writer": "arm.writer",
        "human": "arm.human",
    }
    assert set(ALL_QUEUES) == {queue_of(arm) for arm in ARMS} - {"arm.human"} | {REMOTE_QUEUE}
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
        if arm.in_plans and arm.has_workers:
            behaviour = load_arm(arm.arm_id)
            assert isinstance(behaviour, ActionArm)
            assert set(behaviour.actions) == set(arm.actions)


@pytest.mark.parametrize("name", ["recipes/scan_files.json", "arms/coder.toml"])
def test_a_changed_recipe_or_manifest_changes_the_digest(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "registry"
    shutil.copytree(REGISTRY, copy)
    same = digest_of(copy)
    file = copy / name

    file.write_text(file.read_text().replace("description", "description ", 1))

    assert same == registry_digest()
    assert digest_of(copy) != same


def test_short_types_become_json_schemas(tmp_path: Path) -> None:
    schemas = _schemas(
        tmp_path,
        types="name = { type = 'string', maxLength = 9 }",
        action="""
        input = "pair"
        output = { names = ["name"], "note?" = "any", ends = { anyOf = ["name", "null"] } }
        [types.pair]
        members = { left = "name", "right?" = "name" }
        description = "two names"
        """,
    )

    name = {"type": "string", "maxLength": 9}
    assert schemas == (
        {
            "type": "object",
            "description": "two names",
            "properties": {"left": name, "right": name},
            "required": ["left"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "names": {"type": "array", "items": name},
                "note": {},
                "ends": {"anyOf": [name, {"type": "null"}]},
            },
            "required": ["names", "ends"],
            "additionalProperties": False,
        },
    )


def test_a_type_that_is_defined_nowhere_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"one\.toml:8: actions.do.input names a type .* 'nmae'"):
        _schemas(tmp_path, types="", action="input = { a = 'nmae' }\noutput = {}")


def _schemas(registry: Path, *, types: str, action: str) -> tuple[dict[str, Any], dict[str, Any]]:
    (registry / "arms").mkdir()
    (registry / "types.toml").write_text(f"[types]\n{types}\n")
    (registry / "arms" / "one.toml").write_text(
        f"""
        arm_id = "one"
        description = "Does one thing"
        worker = {{ queue = "arm.one", process = "one" }}
        [actions.do]
        description = "Does it."
        effects = "none"
        {action}
        """
    )
    (manifest,) = read_manifests(registry)
    return manifest["actions"]["do"]["input_schema"], manifest["actions"]["do"]["output_schema"]

"""Makes function arms of a test's own source text, adds them to the registry for the test, and runs their steps."""

import importlib
import itertools
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from orchestrator.models.arm_capability import ARMS, ArmCapability, arm_of
from orchestrator.models.errors import StepError
from orchestrator.models.step_result import StepResult
from orchestrator.sdk.contracts import actions_of
from workers.arms.base import Assignment, load_arm

_numbers = itertools.count()
HEAD = "from orchestrator.sdk import Context, Failed, NeedsReplan, Retry, action\n"


def add_arm(
    monkeypatch: pytest.MonkeyPatch, directory: Path, text: str, *, head: str = HEAD, **stated: object
) -> ArmCapability:
    """Write a module, and register an arm whose functions are in it, until the test ends."""
    arm_id = f"test-arm-{next(_numbers)}"
    module = arm_id.replace("-", "_")
    (directory / f"{module}.py").write_text(head + text)
    monkeypatch.syspath_prepend(str(directory))
    importlib.invalidate_caches()
    monkeypatch.setitem(sys.modules, module, importlib.import_module(module))
    record = {
        "arm_id": arm_id,
        "name": "Test",
        "description": "Tests what an arm may do",
        "version": "1.0.0",
        "cost_tier": 1,
        "in_plans": True,
        "kind": "function",
        "module": module,
        "process": "arms",
        "queue": f"arm.{arm_id}",
        "pool": "threads",
        "max_concurrent_tasks": 4,
        "actions": actions_of(module),
        **stated,
    }
    arm = arm_of(record)
    monkeypatch.setattr(ARMS, "_static", MappingProxyType({**ARMS.visible(None), arm_id: arm}))
    return arm


def run(given: Assignment) -> StepResult:
    """Run the step."""
    return load_arm(given.arm).run(given)


def error_of(given: Assignment) -> StepError:
    """Run the step and return the error that it raises."""
    with pytest.raises(StepError) as raised:
        run(given)
    return raised.value

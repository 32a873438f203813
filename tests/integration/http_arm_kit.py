"""Runs steps of a registered HTTP arm as a worker of the pool `remote` does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.memory import registered_arms
from orchestrator.memory.registered_arms import RegisteredArms, Registration
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import StepError
from orchestrator.models.step_result import StepResult
from tests.http_arm import ServedArm, serve_arm, succeeds
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer
from tests.unit.arm_kit import assignment
from workers.arms.base import Assignment, load_arm
from workers.attempt.remote_access import ProcessAccess
from workers.sandbox.selection import NOT_TESTED

ARM = f"{TENANT}/weather"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DEGREES = {"type": "object", "properties": {"degrees": {"type": "number"}}, "required": ["degrees"]}
COMMON = {"capabilities": ["weather"], "attachments": "none", "timeout_seconds": 30.0}
CONTRACT = {"description": "Says how warm it is.", "input_schema": CITY, "output_schema": DEGREES, **COMMON}
MANIFEST = {
    "name": "Weather",
    "description": "Says how warm it is somewhere",
    "version": "1.0.0",
    "cost_tier": 1,
    "max_concurrent_tasks": 4,
    "actions": {
        "look": {**CONTRACT, "effects": "read"},
        "set": {**CONTRACT, "effects": "write", "idempotent": False},
    },
}


@dataclass
class Caller:
    """Runs steps of the arm as a worker of the pool `remote` does."""

    process: WorkerProcess
    arm: ServedArm

    def assigned(self, action: str = "look", *, seconds: float = 20, **changes: Any) -> Assignment:
        given = assignment(ARM, action, {"city": "Bonn"})
        access = ProcessAccess(self.process)
        return replace(given, deadline=time.monotonic() + seconds, remote=access, **changes)

    def run(self, action: str = "look", **how: Any) -> StepResult:
        return load_arm(ARM, sandbox=NOT_TESTED).run(self.assigned(action, **how))

    def error(self, action: str = "look", **how: Any) -> StepError:
        with pytest.raises(StepError) as raised:
            self.run(action, **how)
        return raised.value

    def register(self, url: str, *, ttl_seconds: float = 60, arm_id: str = ARM) -> None:
        wanted = Registration(
            arm_id=arm_id, tenant=TENANT, is_shared=False, manifest=MANIFEST, url=url, registered_by="me"
        )
        with statement(self.process.engine) as conn:
            assert registered_arms.register(conn, wanted, ttl_seconds=ttl_seconds, max_arms=9)


@contextmanager
def calling(engineer: Engineer) -> Iterator[Caller]:
    """Register an arm that answers 21 degrees, and let a process call it."""
    with serve_arm(succeeds(degrees=21)) as arm:
        engineer.settings = replace(engineer.settings, arm_local_targets=(arm.target,), arm_secret="s" * 40)
        ARMS.attach(RegisteredArms(engineer.engine))
        made = Caller(process_of(engineer), arm)
        made.register(arm.url)
        yield made

"""Our workers with a retriever that can block the interpreter on request: run it with celery -A."""

import ctypes
from pathlib import Path

from orchestrator.models.step_result import StepResult
from workers.arms import retriever
from workers.arms.base import ActionArm, Arm, Assignment
from workers.sandbox.selection import SandboxStatus
from workers.tasks import app

__all__ = ["app"]


def make(_sandbox: SandboxStatus) -> Arm:
    """Return a retriever that only collects."""
    return ActionArm({"collect": collect})


def collect(assignment: Assignment) -> StepResult:
    """Block the interpreter, like a hanging call in C, at the first step that names a new file; then collect."""
    values = assignment.inputs["values"]
    if isinstance(values, dict) and "hold" in values and not Path(values["hold"]).exists():
        Path(values["hold"]).touch()
        # PyDLL keeps the GIL during the call
        ctypes.PyDLL(None).sleep(600)
    return retriever.collect(assignment)


# the worker imports the module that the manifest names, and calls this
retriever.make = make

"""Our workers with a retriever that can be told to hold the interpreter: run it with celery -A."""

import ctypes
from pathlib import Path

from orchestrator.models.step_result import StepResult
from workers.arms import base, retriever
from workers.arms.base import ActionArm, Arm, Assignment
from workers.sandbox.choice import Standing
from workers.tasks import app

__all__ = ["app"]

base._MODULES["retriever"] = __name__


def make(_standing: Standing) -> Arm:
    """Return a retriever that only collects."""
    return ActionArm({"collect": collect})


def collect(assignment: Assignment) -> StepResult:
    """Hold the interpreter, as a catastrophic call in C does, at the first step that names this file; then collect."""
    values = assignment.inputs["values"]
    if isinstance(values, dict) and "hold" in values and not Path(values["hold"]).exists():
        Path(values["hold"]).touch()
        # PyDLL keeps the interpreter's lock during the call
        ctypes.PyDLL(None).sleep(600)
    return retriever.collect(assignment)

"""Our workers with a retriever that can block the interpreter, or a child that can hold its message, on request.

Run it with celery -A; never import it in a test, whose process would have this retriever from then on.
"""

import ctypes
import os
from pathlib import Path
from typing import Any

from celery.concurrency import asynpool

from orchestrator.models.step_result import StepResult
from tests.waiting import wait_until
from workers.arms import retriever
from workers.arms.base import ActionArm, Arm, Assignment
from workers.sandbox.selection import SandboxStatus
from workers.tasks import app

__all__ = ["app"]

HELD_MESSAGE = "OCTOLLM_HELD_MESSAGE"
"""The variable that names a directory: a child writes `taken` there with its message, and waits for `go`."""


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


def hold_messages(child: Any, folder: Path) -> None:
    """Let prefork children take a message from the pipe and not tell the parent before the test lets them go on."""
    make_methods = child._make_child_methods

    def make_methods_that_hold(self: Any) -> None:
        make_methods(self)
        receive = self.wait_for_job

        def receive_and_hold() -> Any:
            message = receive()
            if message:
                (folder / "taken").touch()
                wait_until((folder / "go").exists, 60, "the test to let the child go on")
            return message

        self.wait_for_job = receive_and_hold

    child._make_child_methods = make_methods_that_hold


if HELD_MESSAGE in os.environ:
    hold_messages(asynpool.Worker, Path(os.environ[HELD_MESSAGE]))

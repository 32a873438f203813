"""Fixtures of the unit tests: an arm of a test's own source text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.function_kit import add_arm
from tests.unit.arm_kit import assignment
from workers.arms.base import Assignment

Act = Callable[..., Assignment]


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Act:
    """Make an arm with one action `act`, and return an assignment of it."""

    def make(
        text: str, inputs: Any = None, *, files: Any = None, stated: Any = None, **more: Any
    ) -> Assignment:
        head = "import asyncio\nfrom datetime import date\nfrom pydantic import BaseModel\n"
        head += "from orchestrator.models.errors import ToolFailed\n"
        head += "from orchestrator.sdk import Context, Failed, NeedsReplan, Retry, action\n"
        arm = add_arm(monkeypatch, tmp_path, text, head=head, **(stated or {}))
        return replace(assignment(arm.arm_id, "act", inputs, files=files), **more)

    return make

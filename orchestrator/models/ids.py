"""Ids of tasks, plans, steps and chords; a step's id is derived from its task, round and name, so it is unique."""

import re
import secrets
import time
import uuid
from typing import NewType

TaskId = NewType("TaskId", str)
StepId = NewType("StepId", str)
PlanId = NewType("PlanId", str)
ChordId = NewType("ChordId", str)

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_STEPS = uuid.UUID("6f63746f-6c6c-6d00-8000-737465707321")
_TASK_ID = re.compile(r"task_[0-9A-Za-z]{16}")
_APPROVAL_ID = re.compile(r"appr_[0-9A-Za-z]{16}")
_SCHEDULE_ID = re.compile(r"sched_[0-9A-Za-z]{16}")


def new_task_id() -> TaskId:
    """Return `task_` and 16 base62 characters: 8 of milliseconds since 1970, 8 random (47 bits).

    Ids sort by creation time under the "C" collation.
    """
    return TaskId("task_" + _time_ordered())


def first_task_id(at: float) -> str:
    """Return the least id of a task made at `at`, in seconds since 1970; of times out of range, the nearest one's."""
    return "task_" + _base62(min(max(int(at * 1000), 0), 62**8 - 1)) + "0" * 8


def new_plan_id() -> PlanId:
    """Return `plan_` and 16 base62 characters, time-ordered like a task id."""
    return PlanId("plan_" + _time_ordered())


def new_approval_id() -> str:
    """Return `appr_` and 16 base62 characters, time-ordered like a task id."""
    return "appr_" + _time_ordered()


def new_schedule_id() -> str:
    """Return `sched_` and 16 base62 characters, time-ordered like a task id."""
    return "sched_" + _time_ordered()


def is_task_id(text: str) -> bool:
    """Tell whether `text` has the form of a task id."""
    return _TASK_ID.fullmatch(text) is not None


def is_approval_id(text: str) -> bool:
    """Tell whether `text` has the form of an approval's id."""
    return _APPROVAL_ID.fullmatch(text) is not None


def is_schedule_id(text: str) -> bool:
    """Tell whether `text` has the form of a schedule's id."""
    return _SCHEDULE_ID.fullmatch(text) is not None


def step_id(task_id: str, *, round_number: int, name: str) -> StepId:
    """Return the id of a step: uuid5 of task, round and name; it is also its Celery task id."""
    return StepId(str(uuid.uuid5(_STEPS, f"{task_id}/{round_number}/{name}")))


def chord_id(task_id: str, *, round_number: int) -> ChordId:
    """Return the id of a round's chord; it is also the Celery group id of the chord's header."""
    return ChordId(str(uuid.uuid5(_STEPS, f"{task_id}/{round_number}")))


def _time_ordered() -> str:
    return _base62(time.time_ns() // 1_000_000) + "".join(secrets.choice(_BASE62) for _ in range(8))


def _base62(number: int) -> str:
    digits = ""
    for _ in range(8):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits

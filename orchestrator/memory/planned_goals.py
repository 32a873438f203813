"""Stores the goals that models planned, and finds the earlier tasks of a tenant that are like a new one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.similarity import words_of

MAX_COMPARED = 1_000
"""How many of a tenant's goals are compared, the latest ones."""
MAX_NEAR = 10
LEAST_LIKENESS = 0.5
"""Goals that are less alike mislead more than they help (docs/decisions/0032-plan-hints.md)."""
MAX_STEPS = 12
MAX_FAULTS = 3
MAX_FAULT_CHARACTERS = 80
_MAX_WORDS = 48
_MAX_WORD_CHARACTERS = 64
_MAX_DIMENSIONS = 8_192

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class Goal:
    """A goal as others are compared with it: its content words, and the signs of its embedding as text of 0 and 1."""

    words: tuple[str, ...]
    meaning: str | None = None

    @classmethod
    def of(cls, text: str, *, vector: Sequence[float] | None = None) -> "Goal":
        """Return the goal of a text and its embedding, if it has one."""
        words = sorted(
            {word[:_MAX_WORD_CHARACTERS] for word in words_of(text)}, key=lambda word: (-len(word), word)
        )
        signs = "".join("1" if value > 0 else "0" for value in (vector or ())[:_MAX_DIMENSIONS])
        return cls(tuple(words[:_MAX_WORDS]), signs or None)


@dataclass(frozen=True)
class EarlierPlan:
    """How a task with a similar goal was planned, and how it ended.

    `likeness` is 0 to 1. `steps` are {id, arm, action, depends_on} of at most MAX_STEPS steps of its `step_count`.
    `decision` is the verdict on the last of its `rounds`, `unmet` the texts of criteria that were not met, `failed`
    {step: error code}. `corrections` is how often its plan was illegal at first.
    """

    task_id: str
    goal: str
    likeness: float
    steps: tuple[Mapping[str, Any], ...]
    step_count: int
    rounds: int = 1
    decision: str | None = None
    error_code: str | None = None
    unmet: tuple[str, ...] = ()
    failed: Mapping[str, str] | None = None
    corrections: int = 0


def recall(conn: Connection, tenant: str, task_id: str, goal: Goal, *, is_kept: bool) -> list[EarlierPlan]:
    """Return the tenant's tasks with similar goals that were planned and have ended, the likest first.

    Keeps the task's own goal for later ones if `is_kept`; calling it twice is safe. One statement.
    """
    if not goal.words:
        return []
    values = {
        "tenant": tenant,
        "task_id": task_id,
        "words": list(goal.words),
        "meaning": goal.meaning,
        "is_kept": is_kept,
        "max_compared": MAX_COMPARED,
        "least_likeness": LEAST_LIKENESS,
        "max_near": MAX_NEAR,
        "max_steps": MAX_STEPS,
        "max_faults": MAX_FAULTS,
        "max_text": MAX_FAULT_CHARACTERS,
    }
    return [_earlier(dict(row)) for row in conn.exec_driver_sql(_SQL["recall"], values).mappings()]


def _earlier(row: Mapping[str, Any]) -> EarlierPlan:
    return EarlierPlan(
        **{
            **row,
            "steps": tuple(row["steps"]),
            "unmet": tuple(row["unmet"]),
            "failed": {name: code or "failed" for name, code in row["failed"]},
            "corrections": row["corrections"] or 0,
        }
    )

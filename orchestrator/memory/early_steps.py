"""Reads and writes early steps: steps of round 0, which begin before a task's plan is complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.memory.claims import Claim
from orchestrator.memory.steps import Fenced, StepMessage
from orchestrator.models import record
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Offer

_SQL = sql.load(__file__)

MAX_EARLY_STEPS: Final = 50
"""How many early steps a task has at most, whatever its model answers how often."""


@dataclass(frozen=True)
class EarlyStep:
    """An early step as its row is; `spec` has the plan's step as it was read."""

    id: str
    name: str
    arm: str
    state: StepState
    spec: Mapping[str, Any]

    @property
    def offer(self) -> Offer:
        """Return the arm and the action that do it."""
        return Offer(self.arm, self.spec["action"])

    @property
    def is_open(self) -> bool:
        """Return whether it has not ended."""
        return self.state in (StepState.HELD, StepState.QUEUED, StepState.RUNNING)


class Place(NamedTuple):
    """Where a step is: of round 0 and of no chord until a plan is adopted."""

    round: int
    chord_id: str | None


def begin(
    conn: Connection,
    claim: Claim,
    rows: Sequence[Mapping[str, Any]],
    *,
    routes: Mapping[str, Mapping[str, Any]],
    max_parallel: int,
    redispatch_seconds: float,
) -> list[StepMessage] | None:
    """Insert steps of the plan that the claim's attempt reads; return those to publish, one statement.

    None if nothing was inserted: the attempt is not the current one, the task has ended or has a round, or all steps of
    these names began before. At most `max_parallel` early steps are queued or running, the others are held. `routes`
    has the routing decision of each step. Locks the task.
    """
    values = {
        "task_id": claim.task_id,
        "plan_id": claim.id,
        "attempt": claim.attempt,
        "rows": record.encode(rows),
        "routes": record.encode(routes),
        "max_steps": MAX_EARLY_STEPS,
        "max_parallel": max_parallel,
        "redispatch_seconds": redispatch_seconds,
    }
    begun = conn.exec_driver_sql(_SQL["begin"], values).scalar_one()
    return None if begun is None else [StepMessage(**message) for message in begun]


def lock(conn: Connection, task_id: str) -> list[EarlyStep]:
    """Lock and return a task's early steps; the caller holds the task's lock."""
    rows = conn.exec_driver_sql(_SQL["lock"], {"task_id": task_id})
    return [EarlyStep(row.id, row.name, row.arm, StepState(row.state), row.spec) for row in rows]


def cancel(conn: Connection, ids: Sequence[str]) -> list[Fenced]:
    """Cancel early steps that are open; the caller holds their locks."""
    rows = conn.exec_driver_sql(_SQL["cancel"], {"ids": list(ids)})
    return sorted((Fenced(*row) for row in rows), key=lambda row: row.name)


def move(
    conn: Connection, task_id: str, rows: Sequence[Mapping[str, Any]], *, redispatch_seconds: float
) -> None:
    """Make early steps members of a round: rows as those that rounds.save inserts; the caller holds their locks."""
    values = {"task_id": task_id, "rows": record.encode(rows), "redispatch_seconds": redispatch_seconds}
    conn.exec_driver_sql(_SQL["move"], values)


def place(conn: Connection, step_id: str) -> Place | None:
    """Return where a step is now; None if there is no such step."""
    row = conn.exec_driver_sql(_SQL["place"], {"id": step_id}).one_or_none()
    return None if row is None else Place(*row)

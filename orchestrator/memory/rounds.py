"""Reads and writes rounds: saves a round with its steps, stores its verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared
from orchestrator.memory.events import Fact, as_decisions, as_events
from orchestrator.memory.steps import StepMessage, StepOutcome, outcome_of
from orchestrator.models import record
from orchestrator.models.plan import Plan
from orchestrator.models.verdict import Verdict

_SQL = sql.load(__file__)
_SAVE = Prepared(
    "octollm_save_round",
    _SQL["save"],
    {
        "task_id": "text",
        "number": "int",
        "plan_id": "text",
        "chord_id": "text",
        "plan": "text",
        "phase": "text",
        "rows": "text",
        "count": "int",
        "events": "text",
        "decisions": "text",
        "redispatch_seconds": "float8",
        "has_gates": "bool",
    },
)


_READ_RESULTS = Prepared("octollm_read_results", _SQL["read_results"], {"task_id": "text", "number": "int"})


@dataclass(frozen=True)
class RoundRecord:
    """A row of rounds."""

    number: int
    plan_id: str
    chord_id: str
    plan: Plan
    verdict: Verdict | None


@dataclass(frozen=True)
class RoundResults:
    """A round's plan and the latest outcome of every step; `cache_parts` are those of the task's cache key."""

    plan: Plan
    outcomes: Sequence[StepOutcome]
    cache_parts: dict[str, str] | None


@dataclass(frozen=True)
class NewRound:
    """A round to be saved; each of `rows` is a step: its columns' JSON values, with its first state."""

    task_id: str
    number: int
    plan_id: str
    chord_id: str
    plan: Plan
    phase: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def new_rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows that are inserted: not those of early steps, which are there."""
        return [row for row in self.rows if not row.get("is_early")]

    @property
    def early_rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows of early steps, which move into the round."""
        return [row for row in self.rows if row.get("is_early")]

    @property
    def has_gates(self) -> bool:
        """Tell whether a person must approve one of its steps."""
        return any(row.get("gate") is not None for row in self.rows)


def save(
    conn: Connection,
    new: NewRound,
    facts: Sequence[Fact],
    *,
    decisions: Mapping[str, Mapping[str, Any]],
    redispatch_seconds: float,
) -> None:
    """Insert the round and its steps, make it the task's current one, and write its events; one statement.

    The caller holds the task's lock. Raises IntegrityError if the round exists.
    """
    _SAVE.execute(
        conn,
        {
            "task_id": new.task_id,
            "number": new.number,
            "plan_id": new.plan_id,
            "chord_id": new.chord_id,
            "plan": record.encode(new.plan.to_record()),
            "phase": new.phase,
            "rows": record.encode(new.new_rows),
            "count": len(facts),
            "events": as_events(facts),
            "decisions": as_decisions(decisions),
            "redispatch_seconds": redispatch_seconds,
            "has_gates": new.has_gates,
        },
    )


def save_verdict(conn: Connection, task_id: str, *, number: int, verdict: Verdict) -> None:
    """Store the judge's verdict on a round."""
    values = {"task_id": task_id, "number": number, "verdict": record.encode(verdict.to_record())}
    conn.exec_driver_sql(_SQL["save_verdict"], values)


def read(conn: Connection, task_id: str, *, number: int) -> RoundRecord:
    """Return a round; raises NoResultFound if it does not exist."""
    return _record(conn.exec_driver_sql(_SQL["read"], {"task_id": task_id, "number": number}).one())


def history(conn: Connection, task_id: str) -> list[RoundRecord]:
    """Return all rounds of a task, the first one first; a round of another plan has another plan_id."""
    return [_record(row) for row in conn.exec_driver_sql(_SQL["history"], {"task_id": task_id})]


def plan_again(conn: Connection, planner: StepMessage, *, redispatch_seconds: float) -> None:
    """Insert the row of a planner that makes another plan after the current round, and move the task to planning.

    The caller holds the locks of the round's closed chord and of the task, and publishes the message after the commit.
    Raises IntegrityError if the round has such a row.
    """
    values = {
        "id": planner.id,
        "task_id": planner.task_id,
        "round": planner.round,
        "name": planner.name,
        "arm": planner.arm,
        "queue": planner.queue,
        "broker_priority": planner.priority,
        "spec": record.encode(planner.spec),
        "redispatch_seconds": redispatch_seconds,
    }
    conn.exec_driver_sql(_SQL["plan_again"], values)


def read_results(conn: Connection, task_id: str, *, number: int) -> RoundResults:
    """Return what the judge of a round needs, in one statement. Raises LookupError if the round does not exist."""
    rows = _READ_RESULTS.execute(conn, {"task_id": task_id, "number": number}).all()
    if not rows:
        raise LookupError(f"{task_id} has no round {number}")
    return RoundResults(Plan.from_record(rows[0].plan), [*map(outcome_of, rows)], rows[0].cache_parts)


def _record(row: Row[Any]) -> RoundRecord:
    verdict = Verdict.from_record(row.verdict) if row.verdict else None
    return RoundRecord(row.number, row.plan_id, row.chord_id, Plan.from_record(row.plan), verdict)

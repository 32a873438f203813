"""Calls the functions in Postgres that make a whole transition of a task: one statement, one commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared
from orchestrator.memory.claims import Claim
from orchestrator.memory.events import Fact, as_decisions, as_events
from orchestrator.memory.rounds import NewRound
from orchestrator.memory.steps import StepMessage
from orchestrator.models import record
from orchestrator.models.execution_state import StepState
from orchestrator.models.verdict import Verdict

_SQL = sql.load(__file__)
_COMPLETE = Prepared(
    "octollm_complete",
    _SQL["complete"],
    {
        "chord_id": "text",
        "task_id": "text",
        "round": "int",
        "step_id": "text",
        "attempt": "int",
        "state": "text",
        "result": "jsonb",
        "events": "jsonb",
        "decision": "jsonb",
        "max_parallel": "int",
        "redispatch_seconds": "float8",
    },
)
_ADOPT = Prepared(
    "octollm_adopt",
    _SQL["adopt"],
    {
        "task_id": "text",
        "step_id": "text",
        "attempt": "int",
        "priority": "text",
        "result": "jsonb",
        "plan_id": "text",
        "plan": "jsonb",
        "rows": "jsonb",
        "events": "jsonb",
        "decisions": "jsonb",
        "chord_id": "text",
        "body": "bytea",
        "size": "int",
        "redispatch_seconds": "float8",
    },
)
_FINISH = Prepared(
    "octollm_finish_task",
    _SQL["finish"],
    {
        "chord_id": "text",
        "task_id": "text",
        "round": "int",
        "step_id": "text",
        "attempt": "int",
        "result": "jsonb",
        "verdict": "jsonb",
        "task_result": "jsonb",
        "events": "jsonb",
        "decisions": "jsonb",
        "fresh_seconds": "int",
    },
)


class Answer(StrEnum):
    """What a call did: DONE, or nothing, and why.

    ENDED: the task has ended. MOVED: it is in another round. STALE: the claim is not the current one. RARE: the
    transition takes more than the function does.
    """

    DONE = "done"
    ENDED = "ended"
    MOVED = "moved"
    STALE = "stale"
    RARE = "rare"


@dataclass(frozen=True)
class NotMade:
    """A transition that was not made; `current_round` is the task's, if there is one."""

    answer: Answer
    current_round: int | None


@dataclass(frozen=True)
class StepEnd:
    """How a step ended. The last of `facts` and the attempt's `decision` get its duration, the latter its worker."""

    state: StepState
    result: Mapping[str, Any]
    facts: Sequence[Fact]
    decision: Mapping[str, Any]


@dataclass(frozen=True)
class FirstRound:
    """A round with its events and decisions; its chord has `size` parts and an encoded body.

    `priority` is the task's, for which the rows were made.
    """

    new: NewRound
    facts: Sequence[Fact]
    decisions: Mapping[str, Mapping[str, Any]]
    priority: str
    body: bytes
    size: int


@dataclass(frozen=True)
class JudgedEnd:
    """The end of a task whose result the judge did not reject; `facts` come after those about skipped steps."""

    chord_id: str
    verdict: Verdict
    result: Mapping[str, Any]
    facts: Sequence[Fact]
    decisions: Mapping[str, Mapping[str, Any]]
    fresh_seconds: int


@dataclass(frozen=True)
class CompletedStep:
    """How long a step ran, and what is to be published: the steps that it released, or the round's judge."""

    seconds: float
    messages: Sequence[StepMessage]


@dataclass(frozen=True)
class FinishedTask:
    """A task that was completed; its age is by the clock of Postgres."""

    priority: str
    age_seconds: float


def complete(
    conn: Connection, claim: Claim, end: StepEnd, *, max_parallel: int, redispatch_seconds: float
) -> CompletedStep | NotMade:
    """Complete a step and release what it frees; one statement, made for autocommit mode.

    Locks the chord, then the task.
    """
    values = {
        **_of(claim),
        "state": end.state.value,
        "result": record.encode(end.result),
        "events": as_events(end.facts),
        "decision": record.encode(end.decision),
        "max_parallel": max_parallel,
        "redispatch_seconds": redispatch_seconds,
    }
    row = _COMPLETE.first(conn, values) or {}
    if row["answer"] != Answer.DONE:
        return _not_made(row)
    return CompletedStep(row["seconds"], [StepMessage(**message) for message in row["messages"] or ()])


def adopt(conn: Connection, claim: Claim, first: FirstRound, *, redispatch_seconds: float) -> NotMade | None:
    """Save a task's first round and open its chord; None if that was done. One statement, made for autocommit mode.

    Locks the task.
    """
    plan = first.new.plan.to_record()
    values = {
        **_of(claim),
        "priority": first.priority,
        "result": record.encode({"plan": plan}),
        "plan_id": first.new.plan_id,
        "plan": record.encode(plan),
        "rows": record.encode(first.new.rows),
        "events": as_events(first.facts),
        "decisions": as_decisions(first.decisions),
        "chord_id": first.new.chord_id,
        "body": first.body,
        "size": first.size,
        "redispatch_seconds": redispatch_seconds,
    }
    row = _ADOPT.first(conn, values) or {}
    return None if row["answer"] == Answer.DONE else _not_made(row)


def finish(conn: Connection, claim: Claim, end: JudgedEnd) -> FinishedTask | NotMade:
    """Save a verdict and complete the task; one statement, made for autocommit mode.

    Locks the chord, then the task.
    """
    values = {
        **_of(claim),
        "chord_id": end.chord_id,
        "result": record.encode({"decision": end.verdict.decision.value}),
        "verdict": record.encode(end.verdict.to_record()),
        "task_result": record.encode(end.result),
        "events": as_events(end.facts),
        "decisions": as_decisions(end.decisions),
        "fresh_seconds": end.fresh_seconds,
    }
    row = _FINISH.first(conn, values) or {}
    if row["answer"] != Answer.DONE:
        return _not_made(row)
    return FinishedTask(row["priority"], row["age_seconds"])


def _of(claim: Claim) -> dict[str, Any]:
    return {
        "chord_id": claim.chord_id,
        "task_id": claim.task_id,
        "round": claim.round,
        "step_id": claim.id,
        "attempt": claim.attempt,
    }


def _not_made(row: Mapping[str, Any]) -> NotMade:
    return NotMade(Answer(row["answer"]), row["current_round"])

"""Owns request coalescing in Postgres: the leader of a key, its followers, and which stored result is served."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from orchestrator.cache.admission import ExecutedAction
from orchestrator.cache.exact import CacheEntry
from orchestrator.chord import sql
from orchestrator.memory.tasks import NewTask
from orchestrator.models.execution_state import PLAN_STEP, StepState
from orchestrator.models.ids import step_id
from orchestrator.models.task_contract import Priority

_SQL = sql.load(__file__)
_ONE_LEADER = "tasks_one_leader"
_URGENCY = ["critical", "high", "medium", "low"]


@dataclass(frozen=True)
class Served:
    """A task that was completed with an earlier result; ages in seconds by the clock of Postgres."""

    created_at: datetime
    age_seconds: float
    left_seconds: float


@dataclass(frozen=True)
class FreshResult:
    """A stored result that may be served now; ages in seconds by the clock of Postgres."""

    source_id: str
    result: dict[str, Any]
    age_seconds: float
    left_seconds: float


@dataclass(frozen=True)
class Followed:
    """A task that was inserted as a follower of `leader_id`."""

    created_at: datetime
    leader_id: str


@dataclass(frozen=True)
class Follower:
    """An unfinished task that follows a leader."""

    id: str
    priority: str
    is_past_deadline: bool


@dataclass(frozen=True)
class EndedFollower:
    """A follower that ended with its leader."""

    task_id: str
    priority: str
    age_seconds: float
    created_at: datetime
    trace_context: dict[str, Any] | None


@dataclass(frozen=True)
class WithdrawnResult:
    """A task whose result is no longer served to other tasks."""

    id: str
    cache_key: str | None


def serve(conn: Connection, task: NewTask, entry: CacheEntry, *, max_age: float | None) -> Served | None:
    """Insert the task as completed with the result of the entry's source.

    Returns None if that result may not be served, or if the tenant has used the task's idempotency key before.
    """
    values = {
        **task.values(),
        "source_id": entry.source_id,
        "source_key": entry.source_key,
        "layer": entry.layer,
        "max_age": max_age,
        "has_callback": task.contract.callback_url is not None,
    }
    row = conn.exec_driver_sql(_SQL["serve"], values).one_or_none()
    return Served(*row) if row else None


def find_fresh(
    conn: Connection, tenant: str, key: str, *, max_age: float | None, layer: str = "exact"
) -> FreshResult | None:
    """Return the tenant's newest result under the key that the layer may serve now."""
    values = {"tenant": tenant, "cache_key": key, "max_age": max_age, "layer": layer}
    row = conn.exec_driver_sql(_SQL["find_fresh"], values).one_or_none()
    return FreshResult(*row) if row else None


def follow(conn: Connection, task: NewTask) -> Followed | None:
    """Insert the task as a follower of the task that runs under its key.

    Returns None if there is no leader that it may follow, or if the tenant has used the task's idempotency key before.
    """
    budget = task.contract.budget
    values = {
        **task.values(),
        "urgency": _URGENCY,
        "max_tokens": budget.max_tokens,
        "max_cost_dollars": budget.max_cost_dollars,
    }
    row = conn.exec_driver_sql(_SQL["follow"], values).one_or_none()
    return Followed(*row) if row else None


def is_leader_conflict(error: IntegrityError) -> bool:
    """Return whether an insert failed because the key already has a running leader."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None) == _ONE_LEADER


def lock_followers(conn: Connection, leader_id: str) -> list[Follower]:
    """Lock and return the leader's unfinished followers, the oldest first; the caller holds the leader's row lock."""
    return [Follower(*row) for row in conn.exec_driver_sql(_SQL["followers"], {"leader_id": leader_id})]


def share(conn: Connection, leader_id: str, followers: Sequence[Follower]) -> list[EndedFollower]:
    """Give locked followers the final state of their leader, whose row has it already."""
    values = {"leader_id": leader_id, "ids": [follower.id for follower in followers]}
    return [EndedFollower(*row) for row in conn.exec_driver_sql(_SQL["share"], values)]


def promote(conn: Connection, leader_id: str, followers: Sequence[Follower]) -> str | None:
    """Make the oldest locked follower the new leader of the others; its plan step is queued at once.

    Returns its id, or None if every follower is past its deadline.
    """
    able = [follower for follower in followers if not follower.is_past_deadline]
    if not able:
        return None
    successor, *others = able
    values = {
        "id": successor.id,
        "others": [follower.id for follower in others],
        "step_id": step_id(successor.id, round_number=0, name=PLAN_STEP),
        "broker_priority": Priority(successor.priority).broker_priority,
        "leader_id": leader_id,
    }
    conn.exec_driver_sql(_SQL["promote"], values)
    return successor.id


def find_ended_leaders(conn: Connection, *, limit: int) -> list[str]:
    """Return ids of ended leaders that still have unfinished followers."""
    return [row.leader_id for row in conn.exec_driver_sql(_SQL["find_ended_leaders"], {"limit": limit})]


def read_executed(conn: Connection, task_id: str) -> list[ExecutedAction]:
    """Return the actions that ran for the task, in all rounds."""
    rows = conn.exec_driver_sql(_SQL["read_executed"], {"task_id": task_id})
    return [ExecutedAction(row.arm, row.action, StepState(row.state), row.age_seconds) for row in rows]


def read_key_parts(conn: Connection, task_id: str) -> dict[str, str] | None:
    """Return the parts of the task's cache key; None if the task bypasses the cache."""
    row = conn.exec_driver_sql(_SQL["read_key_parts"], {"task_id": task_id})
    parts: dict[str, str] | None = row.scalar_one_or_none()
    return parts


def withdraw(conn: Connection, tenant: str, task_id: str) -> list[WithdrawnResult]:
    """Withdraw the result behind the tenant's task; return the chain from the task back to the original.

    Returns [] if the tenant has no such task. The last item is the task that produced the result.
    """
    rows = conn.exec_driver_sql(_SQL["withdraw"], {"tenant": tenant, "task_id": task_id})
    return [WithdrawnResult(*row) for row in rows]

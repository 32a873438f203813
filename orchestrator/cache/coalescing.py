"""Owns what ties tasks under one key together: who leads, who follows, whose result answers; all in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from orchestrator.cache.admission import Executed
from orchestrator.cache.lookup import Entry
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
    """A task that an earlier result answered; ages and times in seconds, by Postgres' clock."""

    created_at: datetime
    age_seconds: float
    left_seconds: float


@dataclass(frozen=True)
class Source:
    """A result that may answer now."""

    source_id: str
    result: dict[str, Any]
    age_seconds: float
    left_seconds: float


@dataclass(frozen=True)
class Followed:
    """A task that waits for what another one brings."""

    created_at: datetime
    leader_id: str


@dataclass(frozen=True)
class Follower:
    """An open task that follows a leader."""

    id: str
    priority: str
    is_past_deadline: bool


@dataclass(frozen=True)
class SharedEnd:
    """A follower that ended as its leader did."""

    task_id: str
    priority: str
    age_seconds: float


@dataclass(frozen=True)
class Withdrawn:
    """A task whose result answers for no other any more."""

    id: str
    cache_key: str | None


def serve(conn: Connection, task: NewTask, entry: Entry, *, max_age: float | None) -> Served | None:
    """Insert the task as completed by the entry's source; None when that may not answer (any more).

    None too when the tenant has submitted something under the task's name before.
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
) -> Source | None:
    """Return the newest of the tenant's results under the key that may answer now, by that layer."""
    values = {"tenant": tenant, "cache_key": key, "max_age": max_age, "layer": layer}
    row = conn.exec_driver_sql(_SQL["find_fresh"], values).one_or_none()
    return Source(*row) if row else None


def follow(conn: Connection, task: NewTask) -> Followed | None:
    """Insert the task as a follower of the one that runs under its key; None when there is none that it may follow.

    None too when the tenant has submitted something under the task's name before.
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


def is_led(error: IntegrityError) -> bool:
    """Tell whether an insertion failed because a task under the same key is running."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None) == _ONE_LEADER


def lock_followers(conn: Connection, leader_id: str) -> list[Follower]:
    """Lock the leader's open followers, the oldest first; the caller holds the leader's lock."""
    return [Follower(*row) for row in conn.exec_driver_sql(_SQL["followers"], {"leader_id": leader_id})]


def share(conn: Connection, leader_id: str, followers: Sequence[Follower]) -> list[SharedEnd]:
    """End locked followers as their leader, which is written, has ended."""
    values = {"leader_id": leader_id, "ids": [follower.id for follower in followers]}
    return [SharedEnd(*row) for row in conn.exec_driver_sql(_SQL["share"], values)]


def promote(conn: Connection, leader_id: str, followers: Sequence[Follower]) -> str | None:
    """Let the oldest of the locked followers run in its ended leader's place and the others follow it.

    Returns its id; None when none of them has time left.
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


def leaderless(conn: Connection, *, limit: int) -> list[str]:
    """Return ended leaders for whom open tasks wait."""
    return [row.leader_id for row in conn.exec_driver_sql(_SQL["leaderless"], {"limit": limit})]


def executed(conn: Connection, task_id: str) -> list[Executed]:
    """Return what ran for the task."""
    rows = conn.exec_driver_sql(_SQL["executed"], {"task_id": task_id})
    return [Executed(row.arm, row.action, StepState(row.state), row.age_seconds) for row in rows]


def parts(conn: Connection, task_id: str) -> dict[str, str] | None:
    """Return what the task's key was made of; None when the cache does not know the task."""
    found: dict[str, str] | None = conn.exec_driver_sql(
        _SQL["parts"], {"task_id": task_id}
    ).scalar_one_or_none()
    return found


def withdraw(conn: Connection, tenant: str, task_id: str) -> list[Withdrawn]:
    """Stop what answered the tenant's task from answering for others; return the task and its sources, to the last.

    One that has been the source of others is the last one's own; [] when there is no such task.
    """
    rows = conn.exec_driver_sql(_SQL["withdraw"], {"tenant": tenant, "task_id": task_id})
    return [Withdrawn(*row) for row in rows]

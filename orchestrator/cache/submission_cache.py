"""Owns a submission's path through the cache: serve an earlier result, follow an equal running task, or run."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from orchestrator.cache import coalescing
from orchestrator.cache.admission import are_cacheable
from orchestrator.cache.exact import CacheEntry, ResultCache, control_of, is_eligible, key_of
from orchestrator.memory import submissions, tasks
from orchestrator.memory.tasks import NewTask
from orchestrator.models.errors import NotCached
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Contract

# between our two statements the leader may end and another task may become leader; rarely several times in a row
_MAX_TRIES = 4


@dataclass(frozen=True)
class CacheStatus:
    """How the cache handled a submission: `outcome` is hit, coalesced, miss, refresh or bypass.

    On a hit and when coalesced, `layer` (exact, alias, coalesced) and `source_task_id` name the source of the result;
    `age_seconds` is its age and `left_seconds` how long it may still be served.
    """

    outcome: str = "bypass"
    layer: str | None = None
    source_task_id: str | None = None
    age_seconds: float | None = None
    left_seconds: float | None = None


BYPASSED = CacheStatus()


@dataclass(frozen=True)
class InsertedTask:
    """A submitted task after its row was inserted."""

    created_at: datetime
    status: TaskStatus
    cached: CacheStatus

    @property
    def needs_planning(self) -> bool:
        """Return whether the task's planning has to be published: it neither ended nor follows another task."""
        return self.status is TaskStatus.QUEUED and self.cached.layer is None


class SubmissionCache:
    """The cache as one submission uses it.

    The task bypasses it without `cache`, with a TTL of 0, or when the contract or `plan` (the client's, checked) rules
    it out. Connections must be in autocommit mode: each step is one statement. `serve` opens one only where it needs
    one.
    """

    def __init__(
        self,
        cache: ResultCache | None,
        task: NewTask,
        *,
        plan: Plan | None,
    ) -> None:
        is_on = cache is not None and cache.ttl_seconds > 0 and _may_use_cache(task.contract, plan)
        self._cache = cache if is_on else None
        self._control = control_of(task.contract)
        self._parts: Mapping[str, str] = {}
        if self._cache is not None:
            self._parts = self._cache.parts_of(
                task.contract, tenant=task.caller.tenant, scopes=task.caller.scopes
            )
            task = replace(task, cache_key=key_of(self._parts), cache_parts=self._parts)
        self._task = task

    def serve(self, connect: Callable[[], AbstractContextManager[Connection]]) -> InsertedTask | None:
        """Insert the task as completed with an earlier result.

        Returns None if there is none, or if the task was submitted before. Raises NotCached if there is none and the
        client asked for a cached result only.
        """
        served = self._serve(connect) if self._control.reads else None
        if served is None and self._control.only_cached:
            with connect() as conn:
                if not self._was_submitted(conn):
                    raise NotCached
        return served

    def follow_or_run(self, conn: Connection, *, redispatch_seconds: float) -> InsertedTask | None:
        """Insert the task as follower of an equal running task, else to run; None if it was submitted before."""
        if self._cache is None:
            return self._insert(conn, redispatch_seconds, leads=False)
        can_follow = self._control.reads
        can_lead = can_follow and self._control.stores
        for _ in range(_MAX_TRIES):
            if can_lead:
                try:
                    return self._insert(conn, redispatch_seconds, leads=True)
                except IntegrityError as error:
                    if not coalescing.is_leader_conflict(error):
                        raise
            if can_follow and (followed := coalescing.follow(conn, self._task)):
                status = CacheStatus("coalesced", "coalesced", followed.leader_id, age_seconds=0.0)
                return InsertedTask(followed.created_at, TaskStatus.QUEUED, status)
            if not can_lead:
                break
        return self._insert(conn, redispatch_seconds, leads=False)

    def _serve(self, connect: Callable[[], AbstractContextManager[Connection]]) -> InsertedTask | None:
        if self._cache is None:
            return None
        entry = self._cache.find(self._parts)
        if entry is None and not self._control.only_cached:
            return None
        with connect() as conn:
            entry = entry or self._find_in_postgres(conn)
            if entry is None:
                return None
            served = coalescing.serve(conn, self._task, entry, max_age=self._control.max_age_seconds)
        if served is None:
            return None
        status = CacheStatus("hit", entry.layer, entry.source_id, served.age_seconds, served.left_seconds)
        return InsertedTask(served.created_at, TaskStatus.COMPLETED, status)

    def _find_in_postgres(self, conn: Connection) -> CacheEntry | None:
        """Return an entry for a result that Redis no longer knows."""
        key = str(self._task.cache_key)
        found = coalescing.find_fresh(
            conn, self._task.caller.tenant, key, max_age=self._control.max_age_seconds
        )
        return CacheEntry(self._parts, found.source_id, key) if found else None

    def _insert(self, conn: Connection, redispatch_seconds: float, *, leads: bool) -> InsertedTask | None:
        status = CacheStatus(self._outcome())
        task = self._task if self._control.stores else replace(self._task, cache_key=None, cache_parts=None)
        created_at = tasks.submit(
            conn,
            task,
            redispatch_seconds=redispatch_seconds,
            leads=leads,
            decisions={"cache": {"outcome": status.outcome, "key": self._task.cache_key}},
        )
        return InsertedTask(created_at, TaskStatus.QUEUED, status) if created_at else None

    def _outcome(self) -> str:
        if self._cache is None:
            return "bypass"
        return "miss" if self._control.reads else "refresh"

    def _was_submitted(self, conn: Connection) -> bool:
        """Return whether the task's idempotency key was used before; its first submission answers then."""
        idempotency = self._task.caller.idempotency
        return (
            idempotency is not None
            and submissions.find(conn, self._task.caller.tenant, idempotency.name) is not None
        )


def _may_use_cache(contract: Contract, plan: Plan | None) -> bool:
    """Return whether the contract and, if there is one, the client's plan allow a cached result."""
    if not is_eligible(contract):
        return False
    return plan is None or are_cacheable(offer for step in plan.steps for offer in step.candidates())

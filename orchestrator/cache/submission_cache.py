"""Lets a submitted task in: answered at once, behind an equal one that runs, or to run itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from orchestrator.cache import coalescing
from orchestrator.cache.admission import may_answer
from orchestrator.cache.key import control_of, is_eligible, key_of
from orchestrator.cache.lookup import Entry, ResultCache
from orchestrator.memory import submissions, tasks
from orchestrator.memory.tasks import NewTask
from orchestrator.models.errors import NotCached
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Contract

# a leader may end between our two statements, and another one begin; not often in a row
_TRIES = 4


@dataclass(frozen=True)
class Cached:
    """What the cache said of a submission: outcome is hit, coalesced, miss, refresh or bypass.

    `layer` (coalesced, exact, alias) and `source_task_id` are those of a result that another task made or is to make;
    `age_seconds` is how old it is, `left_seconds` how long it may still answer.
    """

    outcome: str = "bypass"
    layer: str | None = None
    source_task_id: str | None = None
    age_seconds: float | None = None
    left_seconds: float | None = None


BYPASSED = Cached()


@dataclass(frozen=True)
class Accepted:
    """A task that is in the database."""

    created_at: datetime
    status: TaskStatus
    cached: Cached

    @property
    def is_to_run(self) -> bool:
        """Tell whether its planning is to be published."""
        return self.status is TaskStatus.QUEUED and self.cached.layer is None


class Door:
    """One submission on its way in; `plan` is the client's, checked; `scopes` are the caller's.

    Connections are in autocommit mode: each step is one statement.
    """

    def __init__(
        self,
        cache: ResultCache | None,
        task: NewTask,
        *,
        plan: Plan | None,
        scopes: frozenset[str],
    ) -> None:
        is_on = cache is not None and cache.ttl_seconds > 0 and _may_be_cached(task.contract, plan)
        self._cache = cache if is_on else None
        self._control = control_of(task.contract)
        self._parts: Mapping[str, str] = {}
        if self._cache is not None:
            self._parts = self._cache.parts_of(task.contract, tenant=task.tenant, scopes=scopes)
            task = replace(task, cache_key=key_of(self._parts), cache_parts=self._parts)
        self._task = task

    def answer(self, conn: Connection) -> Accepted | None:
        """Complete the task with an earlier result; None when there is none, or the task was submitted before.

        Raises NotCached when there is none and the task is not to run.
        """
        served = self._served(conn) if self._control.reads else None
        if served is None and self._control.only_cached and not self._is_known(conn):
            raise NotCached
        return served

    def admit(self, conn: Connection, *, redispatch_seconds: float) -> Accepted | None:
        """Have the task follow an equal one that runs, or run; None when it was submitted before."""
        if self._cache is None:
            return self._insert(conn, redispatch_seconds, leads=False)
        can_follow = self._control.reads
        can_lead = can_follow and self._control.stores
        for _ in range(_TRIES):
            if can_lead:
                try:
                    return self._insert(conn, redispatch_seconds, leads=True)
                except IntegrityError as error:
                    if not coalescing.is_led(error):
                        raise
            if can_follow and (followed := coalescing.follow(conn, self._task)):
                cached = Cached("coalesced", "coalesced", followed.leader_id, age_seconds=0.0)
                return Accepted(followed.created_at, TaskStatus.QUEUED, cached)
            if not can_lead:
                break
        return self._insert(conn, redispatch_seconds, leads=False)

    def _served(self, conn: Connection) -> Accepted | None:
        if self._cache is None:
            return None
        entry = self._cache.find(self._parts)
        if entry is None and self._control.only_cached:
            entry = self._entry_of_postgres(conn)
        if entry is None:
            return None
        served = coalescing.serve(conn, self._task, entry, max_age=self._control.max_age_seconds)
        if served is None:
            return None
        cached = Cached("hit", entry.layer, entry.source_id, served.age_seconds, served.left_seconds)
        return Accepted(served.created_at, TaskStatus.COMPLETED, cached)

    def _entry_of_postgres(self, conn: Connection) -> Entry | None:
        """Return the entry that Redis has lost."""
        key = str(self._task.cache_key)
        found = coalescing.find_fresh(conn, self._task.tenant, key, max_age=self._control.max_age_seconds)
        return Entry(self._parts, found.source_id, key) if found else None

    def _insert(self, conn: Connection, redispatch_seconds: float, *, leads: bool) -> Accepted | None:
        cached = Cached(self._outcome())
        task = self._task if self._control.stores else replace(self._task, cache_key=None, cache_parts=None)
        created_at = tasks.submit(
            conn,
            task,
            redispatch_seconds=redispatch_seconds,
            leads=leads,
            decisions={"cache": {"outcome": cached.outcome, "key": self._task.cache_key}},
        )
        return Accepted(created_at, TaskStatus.QUEUED, cached) if created_at else None

    def _outcome(self) -> str:
        if self._cache is None:
            return "bypass"
        return "miss" if self._control.reads else "refresh"

    def _is_known(self, conn: Connection) -> bool:
        """Tell whether the task was submitted before under its name: then that answers."""
        idempotency = self._task.idempotency
        return (
            idempotency is not None
            and submissions.find(conn, self._task.tenant, idempotency.name) is not None
        )


def _may_be_cached(contract: Contract, plan: Plan | None) -> bool:
    """Tell whether the contract lets the cache in; a client's plan says itself what will be done."""
    if not is_eligible(contract):
        return False
    return plan is None or may_answer([(step.arm, step.action) for step in plan.steps])

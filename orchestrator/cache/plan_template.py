"""Finds the plan of a task whose goal differs only in its values: sealed pointers in Redis to tasks in Postgres."""

from dataclasses import dataclass

from sqlalchemy import Connection

from orchestrator.cache.admission import LEAST_COVERAGE
from orchestrator.cache.key import family_of
from orchestrator.cache.lookup import ResultCache
from orchestrator.chord import sql
from orchestrator.models.plan import Plan
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.planner.rebinding import rebind
from orchestrator.similarity import template_of

MODE = "template"
"""What the mode of a plan says that was not made for its task."""
_MADE_BY_MODEL = "llm"

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class KnownPlan:
    """A plan that a model made, for a goal of the same family, and that a judge passed."""

    task_id: str
    cache_key: str
    goal: str
    plan: Plan


class PlanTemplates:
    """The pointers of one process, by family and template of the goal."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache

    def find(self, key: str, goal: str) -> str | None:
        """Return the id of the task whose plan may be bound to the goal; `key` is the asking task's cache key."""
        name = _name(key, goal)
        found: str | None = self._cache.store.get(name) if name else None
        return found

    def put(self, key: str, goal: str, task_id: str) -> None:
        """Let the plan of a task be found."""
        if name := _name(key, goal):
            self._cache.store.put(name, task_id, seconds=self._cache.ttl_seconds)

    def drop(self, key: str, goal: str) -> None:
        """Let it be found no more."""
        if name := _name(key, goal):
            self._cache.store.forget(name)


def may_serve(plan: Plan, verdict: Verdict, goal: str) -> bool:
    """Tell whether a judged plan may be bound to other goals: a model made it for this task, and it did the work.

    What it did is no matter: it is executed and judged again, and never a result.
    """
    if plan.mode != _MADE_BY_MODEL or verdict.decision is not Decision.PASSED:
        return False
    template = template_of(goal)
    if template is None or verdict.coverage < LEAST_COVERAGE:
        return False
    return rebind(plan.to_record()["steps"], template.values, template.values) is not None


def read(conn: Connection, tenant: str, task_id: str, *, key: str, goal: str) -> KnownPlan | None:
    """Return what the tenant's task was planned with; None when it is of another family or template."""
    row = conn.exec_driver_sql(_SQL["read"], {"tenant": tenant, "task_id": task_id}).one_or_none()
    if row is None or family_of(row.cache_key) != family_of(key) or _name(key, goal) != _name(key, row.goal):
        return None
    return KnownPlan(task_id, row.cache_key, row.goal, Plan.from_record(row.plan))


def _name(key: str, goal: str) -> str | None:
    template = template_of(goal)
    return f"plan:{family_of(key)}:{template.digest}" if template else None

"""Lists a tenant's tasks: filters, orders, pages and counts, each reading a limited number of rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.models.errors import InvalidInput
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.ids import first_task_id, is_task_id

MAX_SEEN = 10_000
"""A page looks at so many tasks at most."""
MAX_READ = 2_000
"""... if it has to read their contracts, which may be large."""
MAX_COUNTED = 1_000
"""The counts look at so many tasks of each status at most."""
_MAX_CLOCK_SECONDS = 3600
_SQL = sql.load(__file__)
_SORTED_CURSOR = re.compile(
    r"([a-z]{1,10})~(-?[0-9]{1,20}(?:[.][0-9]{1,8})?)~(task_[0-9A-Za-z]{16})~(task_[0-9A-Za-z]{16})~([0-9]{1,17})"
)


class Sort(StrEnum):
    """The order of a list; the last three sort the newest tasks only, as many as a page may look at."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LONGEST = "longest"
    DEAREST = "dearest"
    UPDATED = "updated"

    @property
    def is_by_id(self) -> bool:
        """Return whether ids, which are ordered by time, have this order."""
        return self in (Sort.NEWEST, Sort.OLDEST)


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks to list: all members that are set must fit.

    `goal` is a part of the goal, in any case of letters; `arm` did a step, `recipe` made the plan. A task was submitted
    at or after `submitted_from` and before `submitted_to`. It has run for `min_duration` seconds or more, until now if
    it is open, and has cost `min_cost` dollars or more; an unknown cost never fits.
    """

    statuses: tuple[str, ...] = ()
    goal: str | None = None
    arm: str | None = None
    recipe: str | None = None
    submitted_from: datetime | None = None
    submitted_to: datetime | None = None
    min_duration: float | None = None
    min_cost: float | None = None

    @property
    def window(self) -> int:
        """Return how many tasks a page looks at, at most."""
        return MAX_SEEN if self.goal is None and self.recipe is None else min(MAX_READ, MAX_SEEN)

    def values(self) -> dict[str, Any]:
        """Return the parameters of the statements; the ids are wider than the times by what clocks may differ."""
        start, end = self.submitted_from, self.submitted_to
        return {
            "statuses": list(self.statuses) or None,
            # one status has an index
            "status": self.statuses[0] if len(self.statuses) == 1 else None,
            "goal": self.goal,
            "arm": self.arm,
            "recipe": self.recipe,
            "from": start,
            "to": end,
            "above": first_task_id(start.timestamp() - _MAX_CLOCK_SECONDS) if start else None,
            "below": first_task_id(end.timestamp() + _MAX_CLOCK_SECONDS) if end else None,
            "min_duration": self.min_duration,
            "min_cost": self.min_cost,
        }


@dataclass(frozen=True)
class Cursor:
    """Where the next page begins: after the task `id`.

    A sorted list also needs its order, the key of that task in it, the newest task of the first page's list, and when
    that was read: tasks that arrive meanwhile don't move the others.
    """

    id: str
    sort: Sort | None = None
    key: Decimal | None = None
    newest: str | None = None
    as_of: datetime | None = None

    def __str__(self) -> str:
        """Return the cursor as text."""
        if self.as_of is None:
            return self.id
        micros = (self.as_of - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
        return f"{self.sort}~{self.key:f}~{self.id}~{self.newest}~{micros}"


@dataclass(frozen=True)
class TaskLine:
    """What a list shows of a task; `waiting` is the number of its pending approvals, `schedule_id` what started it."""

    id: str
    status: str
    phase: str
    goal: str
    priority: str
    percentage: int
    tokens_used: int
    cost_dollars: Decimal | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    completed_steps: int
    total_steps: int
    waiting: int
    schedule_id: str | None
    scheduled_at: datetime | None


@dataclass(frozen=True)
class StatusCount:
    """How many tasks of a status fit; `more` if there are further ones that were not looked at."""

    count: int
    more: bool


@dataclass(frozen=True)
class Page:
    """The ids of a page's tasks, where the next page begins, and what changes with any of the tasks.

    `seen_back_to` is set if as many tasks were looked at as may be: when the last of them was submitted.
    """

    ids: tuple[str, ...]
    next_cursor: Cursor | None
    seen_back_to: datetime | None
    state: tuple[tuple[Any, ...], ...]


def is_cursor(text: str) -> bool:
    """Tell whether a text has the form of a cursor."""
    return is_task_id(text) or _SORTED_CURSOR.fullmatch(text) is not None


def parse_cursor(text: str, *, sort: Sort) -> Cursor:
    """Return the cursor in a text of `Cursor`. Raises InvalidInput for another text, or another order's."""
    found = _SORTED_CURSOR.fullmatch(text)
    if sort.is_by_id and is_task_id(text):
        return Cursor(text)
    if found is None or found[1] != sort:
        raise InvalidInput.at(
            "cursor", f"is not a cursor of this list sorted by {sort}: take next_cursor, or none"
        )
    try:
        as_of = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(found[5]))
    except OverflowError as error:
        raise InvalidInput.at("cursor", "is not a cursor of this list: take next_cursor, or none") from error
    return Cursor(found[3], sort, Decimal(found[2]), found[4], as_of)


def find(
    conn: Connection,
    tenant: str,
    *,
    wanted: TaskFilter,
    sort: Sort = Sort.NEWEST,
    limit: int,
    cursor: Cursor | None = None,
) -> Page:
    """Return a page of the tenant's tasks that fit.

    It looks at the filter's `window` of tasks and may hold fewer than `limit` though others follow: then `next_cursor`
    is set. With a sort that is not by id, the list ends with these tasks.
    """
    values = {
        **wanted.values(),
        "tenant": tenant,
        "sort": sort.value,
        "window": wanted.window,
        "limit": limit + 1,
    }
    values |= {"key": None, "key_id": None, "as_of": None}
    newest = None
    if sort.is_by_id:
        values |= _bound_by(cursor, sort, values)
    else:
        newest = cursor.newest if cursor else _newest(conn, tenant)
        # the least text above the id
        values |= {"below": _least(values["below"], f"{newest}0" if newest else None)}
        if cursor:
            values |= {"key": cursor.key, "key_id": cursor.id, "as_of": cursor.as_of}
    rows = conn.exec_driver_sql(_SQL["find_tasks"], values).all()
    shown = rows[:limit]
    more = None
    if len(rows) > limit:
        last = shown[-1]
        as_of = cursor.as_of if cursor else last.read_at
        more = Cursor(last.id) if sort.is_by_id else Cursor(last.id, sort, last.key, newest, as_of)
    seen = None
    if more is None or not sort.is_by_id:
        seen = conn.exec_driver_sql(_SQL["last_seen"], values).one_or_none()
    if seen and more is None and sort.is_by_id:
        more = Cursor(seen.id)
    return Page(
        ids=tuple(row.id for row in shown),
        next_cursor=more,
        seen_back_to=seen.created_at if seen else None,
        state=tuple(tuple(row)[:6] for row in shown),
    )


def count_by_status(conn: Connection, tenant: str, *, wanted: TaskFilter) -> Mapping[str, StatusCount]:
    """Return how many tasks of each status fit, whatever status is wanted, among the newest MAX_COUNTED of it."""
    values = {**wanted.values(), "tenant": tenant, "window": MAX_COUNTED}
    rows = {row.status: row for row in conn.exec_driver_sql(_SQL["count_by_status"], values)}
    return {
        status.value: StatusCount(rows[status].fitting, rows[status].seen >= MAX_COUNTED)
        if status in rows
        else StatusCount(0, False)
        for status in TaskStatus
    }


def describe(conn: Connection, tenant: str, ids: Sequence[str]) -> list[TaskLine]:
    """Return what a list shows of these tasks of the tenant, in the order of `ids`; a deleted task is left out."""
    rows = conn.exec_driver_sql(_SQL["describe"], {"tenant": tenant, "ids": list(ids)}).mappings()
    found = {row["id"]: TaskLine(**row) for row in rows}
    return [found[one] for one in ids if one in found]


def _bound_by(cursor: Cursor | None, sort: Sort, values: Mapping[str, Any]) -> dict[str, Any]:
    if cursor is None:
        return {}
    if sort is Sort.OLDEST:
        return {"above": max(filter(None, (values["above"], cursor.id)))}
    return {"below": _least(values["below"], cursor.id)}


def _least(*ids: str | None) -> str | None:
    return min((one for one in ids if one is not None), default=None)


def _newest(conn: Connection, tenant: str) -> str | None:
    found: str | None = conn.exec_driver_sql(_SQL["newest_id"], {"tenant": tenant}).scalar_one_or_none()
    return found

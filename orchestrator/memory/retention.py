"""Deletes what is past its retention: ended tasks with everything that belongs to them, and unused files."""

from collections.abc import Sequence

from sqlalchemy import Connection

from orchestrator.chord import chord, sql

_SQL = sql.load(__file__)


def forget_tasks(conn: Connection, *, days: int, limit: int) -> int:
    """Delete at most `limit` tasks that ended more than `days` ago, with their chords and results; return how many."""
    old = conn.exec_driver_sql(_SQL["take_old_tasks"], {"days": days, "limit": limit}).scalars().all()
    delete_tasks(conn, old)
    return len(old)


def delete_tasks(conn: Connection, task_ids: Sequence[str]) -> None:
    """Delete tasks whose rows the caller has locked, with everything that belongs to them."""
    if task_ids:
        ids = {"ids": list(task_ids)}
        kept = conn.exec_driver_sql(_SQL["engine_ids"], ids).one()
        chord.forget(conn, kept.chord_ids, task_ids=kept.step_ids)
        conn.exec_driver_sql(_SQL["delete_tasks"], ids)


def forget_artifacts(conn: Connection, *, days: int, limit: int) -> int:
    """Delete at most `limit` files that are older than `days` and that no task refers to; return how many."""
    return conn.exec_driver_sql(_SQL["delete_artifacts"], {"days": days, "limit": limit}).rowcount

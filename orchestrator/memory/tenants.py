"""Deletes everything that belongs to a tenant, in batches."""

from dataclasses import dataclass

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.memory import retention

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class DeletedTasks:
    """How many tasks were deleted, and the cache keys of their results."""

    count: int
    cache_keys: tuple[str, ...]


def revoke_keys(conn: Connection, tenant: str) -> int:
    """Revoke the tenant's valid keys; return how many."""
    return conn.exec_driver_sql(_SQL["revoke_keys"], {"tenant": tenant}).rowcount


def delete_schedules(conn: Connection, tenant: str) -> int:
    """Delete the tenant's schedules, which would start tasks; return how many."""
    return conn.exec_driver_sql(_SQL["delete_schedules"], {"tenant": tenant}).rowcount


def open_tasks(conn: Connection, tenant: str, *, limit: int) -> list[str]:
    """Return the ids of at most `limit` open tasks."""
    return list(conn.exec_driver_sql(_SQL["open_tasks"], {"tenant": tenant, "limit": limit}).scalars())


def delete_ended_tasks(conn: Connection, tenant: str, *, limit: int) -> DeletedTasks:
    """Delete at most `limit` ended tasks with everything that belongs to them; call it in a transaction."""
    values = {"tenant": tenant, "limit": limit}
    rows = conn.exec_driver_sql(_SQL["take_ended_tasks"], values).all()
    retention.delete_tasks(conn, [row.id for row in rows])
    return DeletedTasks(len(rows), tuple(row.cache_key for row in rows if row.cache_key))


def delete_files(conn: Connection, tenant: str, *, limit: int) -> int:
    """Delete at most `limit` files; return how many."""
    return conn.exec_driver_sql(_SQL["delete_files"], {"tenant": tenant, "limit": limit}).rowcount


def delete_rest(conn: Connection, tenant: str) -> None:
    """Delete the tenant's submission names, switched-off cache layers, registered arms and declarations about arms."""
    for name in ("delete_submissions", "delete_switches", "delete_arms", "delete_declarations"):
        conn.exec_driver_sql(_SQL[name], {"tenant": tenant})

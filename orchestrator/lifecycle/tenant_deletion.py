"""Deletes a tenant: revokes its keys, ends its schedules and tasks, and deletes everything that is stored for it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine

from orchestrator.chord.database import in_transaction, statement
from orchestrator.lifecycle import cancel
from orchestrator.memory import tenants
from orchestrator.models.errors import InvalidOperation, NotFound

_BATCH = 200


@dataclass
class DeletedTenant:
    """How much was deleted of a tenant."""

    keys_revoked: int = 0
    schedules_deleted: int = 0
    tasks_cancelled: int = 0
    tasks_deleted: int = 0
    files_deleted: int = 0
    cache_entries_dropped: int = 0


def delete_tenant(engine: Engine, tenant: str, *, forget_result: Callable[[str], None]) -> DeletedTenant:
    """Delete the tenant, one batch in each transaction, and return the counts. Calling it twice is safe.

    `forget_result` drops the cache entry of a key. A worker that runs one of the tasks can't store its outcome, and
    stops at its next heartbeat.
    """
    counts = DeletedTenant()
    with statement(engine) as conn:
        counts.keys_revoked = tenants.revoke_keys(conn, tenant)
    with statement(engine) as conn:
        counts.schedules_deleted = tenants.delete_schedules(conn, tenant)
    while open_ids := _open_tasks(engine, tenant):
        for task_id in open_ids:
            with suppress(InvalidOperation, NotFound):
                cancel.cancel(engine, tenant=tenant, task_id=task_id, reason="its tenant is deleted")
                counts.tasks_cancelled += 1
    while True:
        deleted = in_transaction(engine, lambda conn: tenants.delete_ended_tasks(conn, tenant, limit=_BATCH))
        if not deleted.count:
            break
        counts.tasks_deleted += deleted.count
        for key in set(deleted.cache_keys):
            forget_result(key)
            counts.cache_entries_dropped += 1
    while count := in_transaction(engine, lambda conn: tenants.delete_files(conn, tenant, limit=_BATCH)):
        counts.files_deleted += count
    in_transaction(engine, lambda conn: tenants.delete_rest(conn, tenant))
    return counts


def _open_tasks(engine: Engine, tenant: str) -> list[str]:
    with statement(engine) as conn:
        return tenants.open_tasks(conn, tenant, limit=_BATCH)

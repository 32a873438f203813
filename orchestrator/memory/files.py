"""Stores artifacts: files named by their SHA-256, in chunks, separately for each tenant."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.chord.sql import load
from orchestrator.models.errors import InvalidOperation

CHUNK_BYTES = 256 * 1024

_SQL = load(__file__)


@dataclass(frozen=True)
class Artifact:
    """A stored file; `sha256` (64 hex digits) is its id in the HTTP API."""

    sha256: str
    filename: str
    media_type: str
    size_bytes: int
    created_at: datetime


def put(conn: Connection, tenant: str, *, filename: str, media_type: str, content: bytes) -> Artifact:
    """Store a file and return its description. Storing the same content again only updates its name."""
    sha256 = hashlib.sha256(content).hexdigest()
    values = {
        "tenant": tenant,
        "sha256": sha256,
        "filename": filename,
        "media_type": media_type,
        "size_bytes": len(content),
    }
    row = conn.exec_driver_sql(_SQL["put_artifact"], values).mappings().one()
    if row["is_new"]:
        chunks = [
            {
                "tenant": tenant,
                "sha256": sha256,
                "number": number,
                "content": content[start : start + CHUNK_BYTES],
            }
            for number, start in enumerate(range(0, len(content), CHUNK_BYTES))
        ]
        if chunks:
            conn.exec_driver_sql(_SQL["put_chunk"], chunks)
    return Artifact(sha256, filename, media_type, len(content), row["created_at"])


def describe(conn: Connection, tenant: str, ids: Sequence[str]) -> list[Artifact]:
    """Return the tenant's artifacts with these ids, in the same order; unknown ids are left out."""
    if not ids:
        return []
    rows = conn.exec_driver_sql(_SQL["describe_artifacts"], {"tenant": tenant, "ids": list(ids)}).mappings()
    return [Artifact(**row) for row in rows]


def read(conn: Connection, tenant: str, sha256: str) -> bytes | None:
    """Return a file's content, or None if the tenant has no such file."""
    chunks = conn.exec_driver_sql(_SQL["read_chunks"], {"tenant": tenant, "sha256": sha256}).scalars().all()
    # an empty file has one row without a chunk, an unknown file has no row
    return b"".join(bytes(chunk) for chunk in chunks if chunk is not None) if chunks else None


def stored_bytes(conn: Connection, tenant: str) -> int:
    """Return the total size of the tenant's files in bytes."""
    return int(conn.exec_driver_sql(_SQL["stored_bytes"], {"tenant": tenant}).scalar_one())


def delete(conn: Connection, tenant: str, sha256: str) -> int | None:
    """Delete a file and return its size in bytes; None if the tenant has no such file.

    Raises InvalidOperation while an open task needs it. Locks the file's row.
    """
    values = {"tenant": tenant, "sha256": sha256}
    size: int | None = conn.exec_driver_sql(_SQL["hold_artifact"], values).scalar_one_or_none()
    if size is None:
        return None
    task_id = conn.exec_driver_sql(_SQL["needs_artifact"], values).scalar_one_or_none()
    if task_id is not None:
        raise InvalidOperation(
            f"The open task {task_id} needs this file; cancel the task or wait for its end.",
            details={"task_id": task_id},
        )
    conn.exec_driver_sql(_SQL["delete_artifact"], values)
    return size

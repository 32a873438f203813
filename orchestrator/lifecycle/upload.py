"""Upload: a file that a client sends or an arm's action saves, stored within the tenant's limit."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from sqlalchemy import Connection

from orchestrator.memory import files
from orchestrator.memory.files import Artifact
from orchestrator.models.errors import StorageFull

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class Upload:
    """A file as its author names it; neither name nor media type need be valid."""

    filename: str
    media_type: str
    content: bytes

    def store(self, conn: Connection, tenant: str, *, max_bytes: int) -> Artifact:
        """Store the file.

        Raises StorageFull, for which the caller rolls back, if the tenant then has more than `max_bytes` of files.
        """
        is_media_type = _MEDIA_TYPE.fullmatch(self.media_type)
        artifact = files.put(
            conn,
            tenant,
            filename=_plain_name(self.filename),
            media_type=self.media_type if is_media_type else "application/octet-stream",
            content=self.content,
        )
        if files.stored_bytes(conn, tenant) > max_bytes:
            raise StorageFull(
                f"The tenant may store {max_bytes} bytes of files; delete some with DELETE /v1/files/{{id}}.",
                details={"setting": "TENANT_MAX_STORED_BYTES", "limit": max_bytes},
            )
        return artifact


def _plain_name(given: str) -> str:
    """Return the last part of a path without control characters; `file` if nothing is left."""
    name = PurePosixPath(_CONTROL.sub("", given).replace("\\", "/")).name
    return "file" if name in {"", ".."} else name[-_MAX_NAME_CHARACTERS:]

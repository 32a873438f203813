"""Artifacts over HTTP: a file goes in as multipart or as the body itself, and comes out by its SHA-256."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from flask import Blueprint, Flask, Response, jsonify, request
from sqlalchemy import Connection
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import dump_options_header

from api.middleware import context
from api.middleware.auth import requires
from api.schemas import responses
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import transaction
from orchestrator.memory import files
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import InvalidInput, NotFound, StorageFull

_ID = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
MULTIPART_OVERHEAD_BYTES = 64 * 1024
_MAX_NAME_CHARACTERS = 255

blueprint = Blueprint("files", __name__, url_prefix="/v1/files")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@dataclass(frozen=True)
class _Upload:
    filename: str
    media_type: str
    content: bytes


@blueprint.post("")
@describes(
    {201: responses.Artifact},
    400,
    413,
    422,
    body={
        "application/octet-stream": {"schema": {"type": "string", "minLength": 1}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
    },
)
@requires("task:submit")
def store(principal: Principal) -> Response:
    """Keep a file: 201 with its id; the same content again has the same id."""
    orchestrator = context.orchestrator()
    limit = orchestrator.settings.max_file_bytes
    request.max_content_length = limit + MULTIPART_OVERHEAD_BYTES
    upload = _from_form() if request.mimetype == "multipart/form-data" else _from_body()
    if len(upload.content) > limit:
        raise RequestEntityTooLarge
    with transaction(orchestrator.engine) as conn:
        artifact = files.put(
            conn,
            principal.tenant,
            filename=_plain_name(upload.filename),
            media_type=upload.media_type
            if _MEDIA_TYPE.fullmatch(upload.media_type)
            else "application/octet-stream",
            content=upload.content,
        )
        _require_room(conn, principal.tenant)
    response = jsonify(
        artifact_id=artifact.sha256,
        sha256=artifact.sha256,
        filename=artifact.filename,
        media_type=artifact.media_type,
        size_bytes=artifact.size_bytes,
        created_at=Timestamp().serialize("created_at", artifact),
    )
    response.status_code = 201
    response.headers["Location"] = f"/v1/files/{artifact.sha256}"
    return response


@blueprint.get("/<artifact_id>")
@describes({200: {"*/*": {"schema": {}}}})
@requires("task:read")
def fetch(principal: Principal, artifact_id: str) -> Response:
    """Answer a file's bytes, to be saved and not shown: nobody vouches for what is in it."""
    found, content = [], None
    if _ID.fullmatch(artifact_id):
        with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
            found = files.describe(conn, principal.tenant, [artifact_id])
            content = files.read(conn, principal.tenant, artifact_id) if found else None
    if content is None:
        raise NotFound("There is no such file.")
    response = Response(content, mimetype=found[0].media_type)
    response.headers["Content-Disposition"] = dump_options_header(
        "attachment", {"filename": found[0].filename}
    )
    response.headers["Content-Security-Policy"] = "sandbox"
    return response


@blueprint.delete("/<artifact_id>")
@describes({200: responses.DeletedFile}, 409)
@requires("task:submit")
def delete(principal: Principal, artifact_id: str) -> Response:
    """Delete a file, which frees its bytes; 409 while an open task needs it."""
    size = None
    if _ID.fullmatch(artifact_id):
        with transaction(context.orchestrator().engine) as conn:
            size = files.delete(conn, principal.tenant, artifact_id)
    if size is None:
        raise NotFound("There is no such file.")
    return jsonify(artifact_id=artifact_id, freed_bytes=size)


def _require_room(conn: Connection, tenant: str) -> None:
    """Raise StorageFull, which takes back what was stored, when the tenant's files have more bytes than they may."""
    most = context.orchestrator().settings.tenant_max_stored_bytes
    if files.stored_bytes(conn, tenant) > most:
        raise StorageFull(
            f"The tenant's files may have {most} bytes together; delete some with DELETE /v1/files/{{id}}.",
            details={"setting": "TENANT_MAX_STORED_BYTES", "limit": most},
        )


def _from_form() -> _Upload:
    sent = request.files.get("file")
    if sent is None:
        raise InvalidInput.at("file", "send the file as the form's part `file`, or as the body itself")
    return _Upload(sent.filename or "", sent.mimetype, sent.read())


def _from_body() -> _Upload:
    content = request.get_data(cache=False, parse_form_data=False)
    if not content:
        raise InvalidInput.at("body", "is empty: send the file as the body, or as the form part `file`")
    return _Upload(request.args.get("filename", ""), request.mimetype, content)


def _plain_name(given: str) -> str:
    """Return the last part of a path without control characters; `file` when nothing is left."""
    name = PurePosixPath(_CONTROL.sub("", given).replace("\\", "/")).name
    return "file" if name in {"", ".."} else name[-_MAX_NAME_CHARACTERS:]

"""The endpoints of /v1/files: upload, download and delete artifacts, which are identified by their SHA-256."""

import re

from flask import Blueprint, Response, jsonify, request
from marshmallow import fields, validate
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import dump_options_header

from api.middleware import context
from api.middleware.auth import requires
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from api.schemas.responses import ResponseSchema
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import transaction
from orchestrator.lifecycle.upload import Upload
from orchestrator.memory import files
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import InvalidInput, NotFound

_ID = re.compile(r"[0-9a-f]{64}")
MULTIPART_OVERHEAD_BYTES = 64 * 1024

blueprint = Blueprint("files", __name__, url_prefix="/v1/files")


class ArtifactSchema(ResponseSchema):
    """A stored file; its id is the SHA-256 of its content."""

    artifact_id = fields.String(validate=validate.Regexp(r"^[0-9a-f]{64}$"))
    sha256 = fields.String()
    filename = fields.String()
    media_type = fields.String()
    size_bytes = fields.Integer()
    created_at = Timestamp()


class DeletedFileSchema(ResponseSchema):
    """A file that was deleted."""

    artifact_id = fields.String()
    freed_bytes = fields.Integer()


@blueprint.post("")
@describes(
    {201: ArtifactSchema},
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
    is_idempotent=True,
    audit_action="file.upload",
)
@requires("task:submit")
def store(principal: Principal) -> Response:
    """Store a file: 201 with its id; the same content always has the same id."""
    orchestrator = context.orchestrator()
    limit = orchestrator.settings.max_file_bytes
    request.max_content_length = limit + MULTIPART_OVERHEAD_BYTES
    upload = _from_form() if request.mimetype == "multipart/form-data" else _from_body()
    if len(upload.content) > limit:
        raise RequestEntityTooLarge
    with transaction(orchestrator.engine) as conn:
        artifact = upload.store(
            conn, principal.tenant, max_bytes=orchestrator.settings.tenant_max_stored_bytes
        )
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
@describes({200: {"*/*": {"schema": {}}}}, audit_action="file.download")
@requires("task:read")
def fetch(principal: Principal, artifact_id: str) -> Response:
    """Return a file's bytes, as a download that browsers don't display: its content is untrusted."""
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
@describes({200: DeletedFileSchema}, 409, audit_action="file.delete")
@requires("task:submit")
def delete(principal: Principal, artifact_id: str) -> Response:
    """Delete a file and free its bytes; 409 while an open task needs it."""
    size = None
    if _ID.fullmatch(artifact_id):
        with transaction(context.orchestrator().engine) as conn:
            size = files.delete(conn, principal.tenant, artifact_id)
    if size is None:
        raise NotFound("There is no such file.")
    return jsonify(artifact_id=artifact_id, freed_bytes=size)


def _from_form() -> Upload:
    part = request.files.get("file")
    if part is None:
        raise InvalidInput.at("file", "is missing: send the file as the form part `file`, or as the body")
    return Upload(part.filename or "", part.mimetype, part.read())


def _from_body() -> Upload:
    content = request.get_data(cache=False, parse_form_data=False)
    if not content:
        raise InvalidInput.at("body", "is empty: send the file as the body, or as the form part `file`")
    return Upload(request.args.get("filename", ""), request.mimetype, content)

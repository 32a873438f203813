"""The endpoints of /v1/keys: list, make, rotate and revoke API keys of the caller's tenant.

They need the scope admin, which includes every other scope: nobody can give a key more than they have.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from api.middleware import audit, body, context
from api.middleware.auth import requires
from api.schemas.fields import Timestamp, TrimmedText
from api.schemas.operation import describes
from api.schemas.requests import MAX_PAGE, RequestSchema, read
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.auth.credential import SCOPES, Principal
from orchestrator.chord.database import statement, transaction
from orchestrator.memory import keys
from orchestrator.memory.keys import KeyRecord
from orchestrator.models.errors import InvalidOperation, NotFound

MAX_NAME_CHARACTERS = 200
_KEY_ID = re.compile(r"[0-9A-Za-z]{12}\Z")
_LIFETIME_DAYS = 90
_MAX_DAYS = 36_500
_MAX_OVERLAP_HOURS = 24 * 90
_EXAMPLES = {
    "for a program that submits tasks": {"name": "nightly reports", "scopes": ["task:submit", "task:read"]},
    "without an end": {"scopes": ["all"], "expires_days": 0},
}

blueprint = Blueprint("keys", __name__, url_prefix="/v1/keys")


class KeyListQuerySchema(Schema):
    """Which keys to list; the cursor is the previous page's `next_cursor`."""

    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(load_default=None, validate=validate.Regexp(_KEY_ID))


class KeyRequestSchema(RequestSchema):
    """A new key: its name for people, its scopes (or `all`), and after how many days it ends (0: never)."""

    name = TrimmedText(load_default="", validate=validate.Length(max=MAX_NAME_CHARACTERS))
    scopes = fields.List(
        fields.String(validate=validate.OneOf(["all", *SCOPES])),
        required=True,
        validate=validate.Length(1, len(SCOPES) + 1),
    )
    environment = fields.String(load_default="live", validate=validate.Regexp(r"^[a-z]{1,16}\Z"))
    expires_days = fields.Integer(
        strict=True, load_default=_LIFETIME_DAYS, validate=validate.Range(0, _MAX_DAYS)
    )

    @validates_schema
    def _has_printable_name(self, members: dict[str, Any], **_: Any) -> None:
        if not members.get("name", "").isprintable():
            raise ValidationError("Must not contain control characters.", "name")


class RotationRequestSchema(RequestSchema):
    """For how many hours the old key works beside its successor."""

    overlap_hours = fields.Integer(
        strict=True, load_default=24, validate=validate.Range(0, _MAX_OVERLAP_HOURS)
    )


class KeySchema(ResponseSchema):
    """An API key without its secret. `is_own`: the caller's token was made with it."""

    key_id = fields.String(attribute="id")
    name = fields.String()
    environment = fields.String()
    scopes = fields.List(fields.String())
    state = one_of("live", "expired", "revoked")
    is_own = fields.Boolean()
    created_at = Timestamp()
    expires_at = Timestamp(allow_none=True)
    revoked_at = Timestamp(allow_none=True)
    last_used_at = Timestamp(allow_none=True)


class NewKeySchema(KeySchema):
    """A new API key; `key` is its text, which is not stored and can't be shown again."""

    key = fields.String()


class KeyPageSchema(ResponseSchema):
    """A page of the tenant's keys, newest first; request the next page with cursor = `next_cursor`."""

    keys = fields.List(fields.Nested(KeySchema))
    next_cursor = fields.String(allow_none=True)


_QUERY = KeyListQuerySchema(unknown=EXCLUDE)
_REQUEST = KeyRequestSchema()
_ROTATION = RotationRequestSchema()
_KEY = KeySchema()
_NEW_KEY = NewKeySchema()


@blueprint.get("")
@describes({200: KeyPageSchema}, query=KeyListQuerySchema)
@requires("admin")
def index(principal: Principal) -> Response:
    """List the tenant's API keys, newest first, in pages, without their secrets."""
    query = read(_QUERY, request.args)
    limit = query["limit"]
    with statement(context.orchestrator().engine) as conn:
        found = keys.list_keys(conn, tenant=principal.tenant, limit=limit + 1, before=query["cursor"])
    page = found[:limit]
    return jsonify(
        {
            "keys": [_KEY.to_json(_members(key, principal)) for key in page],
            "next_cursor": page[-1].id if len(found) > limit else None,
        }
    )


@blueprint.post("")
@describes({201: NewKeySchema}, body=KeyRequestSchema, examples=_EXAMPLES, audit_action="key.create")
@requires("admin")
def create(principal: Principal) -> Response:
    """Make an API key of the caller's tenant. Its text is in this response only."""
    given = read(_REQUEST, body.read_object())
    days = given["expires_days"]
    with statement(context.orchestrator().engine) as conn:
        key, text = keys.create(
            conn,
            tenant=principal.tenant,
            scopes=given["scopes"],
            name=given["name"],
            environment=given["environment"],
            expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        )
    return _made(key, text, principal)


@blueprint.post("/<key_id>/rotate")
@describes(
    {201: NewKeySchema},
    409,
    body=RotationRequestSchema,
    is_body_required=False,
    examples={"at once": {"overlap_hours": 0}},
    audit_action="key.rotate",
)
@requires("admin")
def rotate(principal: Principal, key_id: str) -> Response:
    """Make a key with the scopes and the lifetime of this one, which ends after `overlap_hours`."""
    given = read(_ROTATION, body.read_optional_object())
    _require_key(principal, key_id)
    with transaction(context.orchestrator().engine) as conn:
        made = keys.rotate(
            conn, key_id, overlap_seconds=given["overlap_hours"] * 3600, tenant=principal.tenant
        )
    if made is None:
        raise InvalidOperation(f"The key {key_id} has ended: make a new one with POST /v1/keys.")
    return _made(*made, principal)


@blueprint.delete("/<key_id>")
@describes({200: KeySchema}, audit_action="key.revoke")
@requires("admin")
def revoke(principal: Principal, key_id: str) -> Response:
    """Revoke a key: it and its tokens are refused within five seconds. Calling twice is safe."""
    _require_key(principal, key_id)
    with statement(context.orchestrator().engine) as conn:
        keys.revoke(conn, key_id, tenant=principal.tenant)
    return jsonify(_KEY.to_json(_members(_require_key(principal, key_id), principal)))


def _require_key(principal: Principal, key_id: str) -> KeyRecord:
    """Return the key. Raises NotFound if there is none, or it is another tenant's."""
    key = None
    if _KEY_ID.fullmatch(key_id):
        with statement(context.orchestrator().engine) as conn:
            key = keys.find_key(conn, principal.tenant, key_id)
    if key is None:
        raise NotFound("There is no such key; GET /v1/keys lists them.")
    audit.record_object(key.id)
    return key


def _made(key: KeyRecord, text: str, principal: Principal) -> Response:
    audit.record_object(key.id)
    response = jsonify(_NEW_KEY.to_json({**_members(key, principal), "key": text}))
    response.status_code = 201
    response.headers["Cache-Control"] = "no-store"
    return response


def _members(key: KeyRecord, principal: Principal) -> dict[str, Any]:
    is_expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    state = "revoked" if key.revoked_at else "expired" if is_expired else "live"
    return {**vars(key), "state": state, "is_own": key.id == principal.key_id}

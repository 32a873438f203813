"""GET /v1/audit-log: lists the audit entries about the caller's tenant."""

import re
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from api.middleware import context
from api.middleware.auth import requires
from api.schemas.fields import CommaList, SoughtText, Timestamp, UtcDateTime
from api.schemas.operation import describes
from api.schemas.requests import MAX_PAGE, read
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.auth.credential import Principal
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditFilter, AuditOutcome, Cursor
from orchestrator.memory.tenancy import tenant_statement

MAX_KEY_CHARACTERS = 255
_CURSOR = re.compile(r"([0-9]{1,17})~([0-9]{1,18})")
_EPOCH = datetime.fromtimestamp(0, UTC)

blueprint = Blueprint("audit_log", __name__, url_prefix="/v1")


def _require_cursor(cursor: str) -> None:
    if _CURSOR.fullmatch(cursor) is None:
        raise ValidationError("Not a cursor of this list.")


class AuditQuerySchema(Schema):
    """Which entries to list; the cursor is the previous page's `next_cursor`.

    `action` is one such as task.submit, or a group such as task; `key` is a key's id; `from` and `to` limit the time.
    """

    action = fields.String(load_default=None, validate=validate.Regexp(r"^[a-z_]{1,32}([.][a-z_]{1,32})?\Z"))
    outcome = CommaList([outcome.value for outcome in AuditOutcome], load_default=None)
    key = SoughtText(load_default=None, max_characters=MAX_KEY_CHARACTERS)
    from_ = UtcDateTime(data_key="from", format="iso", load_default=None)
    to = UtcDateTime(format="iso", load_default=None)
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(load_default=None, validate=_require_cursor)


class AuditEntrySchema(ResponseSchema):
    """One action: who did what to which object, from where, and whether it was allowed (`reason`: why not).

    `times` above 1 counts actions that got no entry of their own.
    """

    occurred_at = Timestamp()
    action = fields.String()
    outcome = one_of(*(outcome.value for outcome in AuditOutcome))
    object = fields.String(allow_none=True)
    key_id = fields.String(allow_none=True)
    subject = fields.String(allow_none=True)
    address = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    request_id = fields.String(allow_none=True)
    times = fields.Integer()


class AuditPageSchema(ResponseSchema):
    """A page of entries, newest first; request the next page with cursor = `next_cursor`.

    `seen_back_to` is set if the server looked at as many entries as it may for one reply: the time of the last one.
    """

    entries = fields.List(fields.Nested(AuditEntrySchema))
    seen_back_to = Timestamp(allow_none=True)
    next_cursor = fields.String(allow_none=True)


_QUERY = AuditQuerySchema(unknown=EXCLUDE)
_PAGE = AuditPageSchema()


@blueprint.get("/audit-log")
@describes({200: AuditPageSchema}, query=AuditQuerySchema)
@requires("admin")
def index(principal: Principal) -> Response:
    """List the audit entries about the caller's tenant, newest first, in pages; a filtered page may be short.

    One reply looks at 10,000 entries at most; the next page goes on from there. An entry appears within seconds.
    Refused calls whose caller is unknown belong to no tenant: operators read them with `octollm audit`.
    """
    query = read(_QUERY, request.args)
    wanted = AuditFilter(
        tenant=principal.tenant,
        action=query["action"],
        outcomes=query["outcome"] or (),
        key_id=query["key"],
        since=query["from_"],
        until=query["to"],
    )
    cursor = _cursor(query["cursor"]) if query["cursor"] else None
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        page = audit_log.list_page(conn, wanted, limit=query["limit"], cursor=cursor)
    after = page.next_cursor
    reply = {**page._asdict(), "next_cursor": _text(after) if after else None}
    return jsonify(_PAGE.to_json(reply))


def _cursor(text: str) -> Cursor:
    micros, entry_id = text.split("~")
    return Cursor(int(entry_id), _EPOCH + timedelta(microseconds=int(micros)))


def _text(cursor: Cursor) -> str:
    return f"{(cursor.occurred_at - _EPOCH) // timedelta(microseconds=1)}~{cursor.id}"

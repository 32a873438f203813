"""/v1/auth/session: the console's session in a browser. POST signs in, GET tells who is signed in, DELETE signs out."""

from contextlib import suppress
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, jsonify
from marshmallow import ValidationError, fields, validate, validates_schema

from api.middleware import audit, body, context, rate_limit, session_cookie
from api.middleware.auth import authenticate, identify, presented_token, revocation_cache_of
from api.schemas.fields import Timestamp
from api.schemas.operation import describes, public
from api.schemas.requests import RequestSchema, read
from api.schemas.responses import ResponseSchema
from orchestrator.auth import credential, sign_in_code
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.memory import keys
from orchestrator.models.errors import InvalidCredential, Unauthenticated

SESSION_SECONDS = 12 * 3600

blueprint = Blueprint("session", __name__, url_prefix="/v1/auth/session")


class SignInSchema(RequestSchema):
    """An API key, or the code of a link that `octollm up` prints."""

    api_key = fields.String(validate=validate.Length(max=200))
    code = fields.String(validate=validate.Length(max=200))

    @validates_schema
    def require_one(self, given: dict[str, str], **_: object) -> None:
        """Reject both and neither."""
        if len(given) != 1:
            raise ValidationError("send either api_key or code", "api_key")


class SessionSchema(ResponseSchema):
    """Who is signed in, and until when."""

    tenant = fields.String()
    key_id = fields.String()
    scopes = fields.List(fields.String())
    expires_at = Timestamp()


_EXAMPLES = {"by key": {"api_key": "octo_live_9mKzT2bWqLx4_"}, "by link": {"code": "the code in the link"}}
_SIGN_IN = SignInSchema()
_SESSION = SessionSchema()


@blueprint.post("")
@describes(
    {201: SessionSchema},
    401,
    403,
    429,
    503,
    body=SignInSchema,
    examples=_EXAMPLES,
    audit_action="session.open",
)
@public
def sign_in() -> Response:
    """Open a session: answer with a cookie that the browser sends with each later request of the console.

    Only for browsers: the Origin header must name this host. Other clients use POST /v1/auth/token.
    """
    session_cookie.require_own_origin()
    given = read(_SIGN_IN, body.read_object())
    with rate_limit.counting_failures():
        principal = _redeem(given["code"]) if "code" in given else _verify(given["api_key"])
    rate_limit.charge(audit.record_principal(principal))
    settings = context.orchestrator().settings
    ttl = min(SESSION_SECONDS, settings.jwt_max_age_seconds)
    token = credential.sign_token(
        settings, tenant=principal.tenant, key_id=principal.key_id, scopes=principal.scopes, ttl=ttl
    )
    response = _describe(credential.verify_token(settings, token))
    response.status_code = 201
    session_cookie.put(response, token, max_age_seconds=ttl)
    return response


@blueprint.get("")
@describes({200: SessionSchema}, 401, 429, 503)
@public
def show() -> Response:
    """Return who the caller is: for the console after a reload. A token is accepted as well as a session."""
    principal = authenticate(presented_token())
    revocation_cache_of(current_app).require(principal.key_id)
    return _describe(principal)


@blueprint.delete("")
@describes({204: None}, 403, audit_action="session.close")
@public
def sign_out() -> Response:
    """Remove the cookie; without a session do nothing."""
    session_cookie.require_own_origin()
    with suppress(Unauthenticated):
        audit.record_principal(identify(presented_token()))
    response = Response(status=204)
    session_cookie.remove(response)
    return response


def _redeem(code: str) -> Principal:
    orchestrator = context.orchestrator()
    return sign_in_code.redeem(orchestrator.redis, code, secret=orchestrator.sign_in_secret)


def _verify(api_key: str) -> Principal:
    parsed = credential.parse_api_key(api_key)
    audit.record_claimed_key(parsed.id if parsed else None)
    with statement(context.orchestrator().engine) as conn:
        principal = keys.verify(conn, api_key)
        if principal is None:
            raise InvalidCredential("The API key is unknown, expired or revoked.", details={"reason": "key"})
        keys.touch(conn, principal.key_id)
    return principal


def _describe(principal: Principal) -> Response:
    return jsonify(
        _SESSION.to_json(
            {
                "tenant": principal.tenant,
                "key_id": principal.key_id,
                "scopes": sorted(principal.scopes),
                "expires_at": datetime.fromtimestamp(principal.expires_at or 0, tz=UTC),
            }
        )
    )

"""POST /v1/auth/token: exchanges an API key for a JWT."""

from flask import Blueprint, Response, jsonify
from marshmallow import fields

from api.middleware import audit, context, rate_limit
from api.middleware.auth import presented_credential, verify_key
from api.schemas.operation import describes, public
from api.schemas.responses import ResponseSchema
from orchestrator.auth import credential

blueprint = Blueprint("auth", __name__, url_prefix="/v1/auth")


class TokenSchema(ResponseSchema):
    """A JWT; send it as `Authorization: Bearer`, or as X-API-Key."""

    access_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()
    scopes = fields.List(fields.String())


@blueprint.post("/token")
@describes(
    {200: TokenSchema}, 401, 429, 503, takes_api_key=True, is_idempotent=True, audit_action="token.issue"
)
@public
def exchange_key() -> Response:
    """Return a JWT for an API key; it has the key's scopes and is refused once the key has ended."""
    orchestrator = context.orchestrator()
    presented = presented_credential()
    parsed = credential.parse_api_key(presented)
    audit.record_claimed_key(parsed.id if parsed else None)
    # a secret of 256 bits can't be guessed: only failures are counted, and a valid key works from any address
    with rate_limit.counting_failures():
        principal = verify_key(orchestrator.engine, presented)
    rate_limit.charge(audit.record_principal(principal))
    ttl = orchestrator.settings.jwt_ttl_seconds
    token = credential.sign_token(
        orchestrator.settings,
        tenant=principal.tenant,
        key_id=principal.key_id,
        scopes=principal.scopes,
        ttl=ttl,
    )
    scopes = sorted(principal.scopes)
    return jsonify(access_token=token, token_type="Bearer", expires_in=ttl, scopes=scopes)  # noqa: S106

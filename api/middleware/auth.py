"""Knows who calls: a JWT on every call that needs one, and API keys where they are exchanged for it."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from sqlalchemy import Engine

from api.middleware import audit, context, limit
from api.schemas import responses
from api.schemas.operation import describes, public
from orchestrator.auth import credential
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.memory import keys
from orchestrator.models.errors import Forbidden, InvalidCredential, Unauthenticated

REVOCATION_SECONDS = 5
_MAX_REMEMBERED_KEYS = 10_000
_WATCH = "octollm_keys"

P = ParamSpec("P")
blueprint = Blueprint("auth", __name__, url_prefix="/v1/auth")


def install(app: Flask) -> None:
    """Make the app able to tell who calls."""
    app.extensions[_WATCH] = KeyWatch(context.orchestrator_of(app).engine)
    app.register_blueprint(blueprint)


def requires(scope: str) -> Callable[[Callable[Concatenate[Principal, P], Response]], Callable[P, Response]]:
    """Give a view its caller as first argument; refuse callers without `scope` (401, 403) before it runs."""

    def decorate(view: Callable[Concatenate[Principal, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
            return view(permit(identify(shown_credential()), scope), *args, **kwargs)

        guarded.__dict__["scope"] = scope
        return guarded

    return decorate


@blueprint.post("/token")
@describes({200: responses.Token}, 401, 429, 503)
@public
def exchange_key() -> Response:
    """Answer a JWT for an API key; it has the key's scopes, and ends with the key."""
    orchestrator = context.orchestrator()
    raw_key = shown_credential()
    shown = credential.parse_api_key(raw_key)
    audit.claims(shown.id if shown else None)
    # a secret of 256 bits is not guessed: what fails is counted, and a key that holds is heard from any address
    with limit.counting_failures(), statement(orchestrator.engine) as conn:
        principal = keys.verify(conn, raw_key)
        if principal is None:
            raise InvalidCredential("The API key is unknown, expired or revoked.", details={"reason": "key"})
        keys.touch(conn, principal.key_id)
    limit.charge(audit.knows(principal))
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


class KeyWatch:
    """Remembers for REVOCATION_SECONDS that a token's key still holds, so that most calls need not ask."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held_at: dict[str, float] = {}

    def require(self, key_id: str) -> None:
        """Raise InvalidCredential when the key was revoked or has expired."""
        now = time.monotonic()
        if now - self._held_at.get(key_id, float("-inf")) < REVOCATION_SECONDS:
            return
        with statement(self._engine) as conn:
            if keys.is_revoked(conn, key_id):
                raise InvalidCredential("The token's API key was revoked.", details={"reason": "revoked"})
        if len(self._held_at) >= _MAX_REMEMBERED_KEYS:
            self._held_at.clear()
        self._held_at[key_id] = now


def identify(token: str) -> Principal:
    """Return who shows `token`, and count the call.

    Raises InvalidCredential for anything but a JWT of ours that still holds, RateLimited for too many calls.
    """
    with limit.counting_failures():
        principal = audit.knows(_verified(token))
    limit.charge(principal)
    return principal


def _verified(token: str) -> Principal:
    if credential.parse_api_key(token):
        raise InvalidCredential(
            "An API key is not accepted here; POST /v1/auth/token answers a token for it.",
            details={"reason": "api_key"},
        )
    orchestrator = context.orchestrator()
    return credential.verify_token(orchestrator.settings, token, provider=orchestrator.provider)


def permit(principal: Principal, scope: str) -> Principal:
    """Return the caller if its key still holds and it has `scope`; raise InvalidCredential or Forbidden."""
    key_watch_of(current_app).require(principal.key_id)
    return require_scope(principal, scope)


def key_watch_of(app: Flask) -> KeyWatch:
    """Return what an app remembers of its callers' keys."""
    return cast(KeyWatch, app.extensions[_WATCH])


def require_scope(principal: Principal, scope: str) -> Principal:
    """Return the caller if it has `scope`; raise Forbidden."""
    if not principal.may(scope):
        raise Forbidden(
            f"This needs the scope {scope}.",
            details={"required_scope": scope, "provided_scopes": sorted(principal.scopes)},
        )
    return principal


def shown_credential() -> str:
    """Return what the caller showed: the bearer token first, else X-API-Key, which OctoLLM's clients use.

    Raises Unauthenticated when it showed nothing.
    """
    shown = request.authorization
    if shown is not None and shown.type == "bearer" and shown.token:
        return shown.token
    if key := request.headers.get("X-API-Key", "").strip():
        return key
    raise Unauthenticated

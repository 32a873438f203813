"""Knows who calls: a JWT on every call that needs one, and API keys where they are exchanged for it."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, request

from api import current
from orchestrator import credential
from orchestrator.credential import Principal
from orchestrator.errors import Forbidden, InvalidCredential, Unauthenticated
from orchestrator.store import keys
from orchestrator.store.engine import statement

REVOCATION_SECONDS = 5
_MAX_REMEMBERED_KEYS = 10_000
_WATCH = "octollm_keys"

P = ParamSpec("P")
blueprint = Blueprint("auth", __name__, url_prefix="/v1/auth")


def install(app: Flask) -> None:
    """Make the app able to tell who calls."""
    app.extensions[_WATCH] = KeyWatch()
    app.register_blueprint(blueprint)


def requires(scope: str) -> Callable[[Callable[Concatenate[Principal, P], Response]], Callable[P, Response]]:
    """Give a view its caller as first argument; refuse callers without `scope` (401, 403) before it runs."""

    def decorate(view: Callable[Concatenate[Principal, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
            return view(_caller_with(scope), *args, **kwargs)

        return guarded

    return decorate


@blueprint.post("/token")
def exchange_key() -> Response:
    """Answer a JWT for an API key; it has the key's scopes, and ends with the key."""
    orchestrator = current.orchestrator()
    raw_key = _credential()
    with statement(orchestrator.engine) as conn:
        principal = keys.verify(conn, raw_key)
        if principal is None:
            raise InvalidCredential("The API key is unknown, expired or revoked.", details={"reason": "key"})
        keys.touch(conn, principal.key_id)
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

    def __init__(self) -> None:
        self._held_at: dict[str, float] = {}

    def require(self, key_id: str) -> None:
        """Raise InvalidCredential when the key was revoked or has expired."""
        now = time.monotonic()
        if now - self._held_at.get(key_id, float("-inf")) < REVOCATION_SECONDS:
            return
        with statement(current.orchestrator().engine) as conn:
            if keys.is_revoked(conn, key_id):
                raise InvalidCredential("The token's API key was revoked.", details={"reason": "revoked"})
        if len(self._held_at) >= _MAX_REMEMBERED_KEYS:
            self._held_at.clear()
        self._held_at[key_id] = now


def _caller_with(scope: str) -> Principal:
    token = _credential()
    if credential.parse_api_key(token):
        raise InvalidCredential(
            "An API key is not accepted here; POST /v1/auth/token answers a token for it.",
            details={"reason": "api_key"},
        )
    principal = credential.verify_token(current.orchestrator().settings, token)
    cast(KeyWatch, current_app.extensions[_WATCH]).require(principal.key_id)
    if not principal.may(scope):
        raise Forbidden(
            f"This needs the scope {scope}.",
            details={"required_scope": scope, "provided_scopes": sorted(principal.scopes)},
        )
    return principal


def _credential() -> str:
    """Return what the caller showed: the bearer token first, else X-API-Key, which OctoLLM's clients use."""
    shown = request.authorization
    if shown is not None and shown.type == "bearer" and shown.token:
        return shown.token
    if key := request.headers.get("X-API-Key", "").strip():
        return key
    raise Unauthenticated

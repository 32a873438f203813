"""Authenticates callers by JWT, and checks their scopes and whether their API key was revoked."""

import hashlib
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from flask import Flask, Response, current_app, request
from sqlalchemy import Engine

from api.middleware import audit, context, rate_limit, session_cookie
from orchestrator.auth import credential
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.memory import keys
from orchestrator.models.errors import Forbidden, InvalidCredential, Unauthenticated

REVOCATION_SECONDS = 5
VERIFIED_SECONDS = 60
_MAX_CACHED_KEYS = 10_000
_MAX_VERIFIED_TOKENS = 10_000
_KEYS_EXTENSION = "octollm_keys"
_TOKENS_EXTENSION = "octollm_tokens"
_VERIFIED_KEYS_EXTENSION = "octollm_verified_keys"

P = ParamSpec("P")


def install(app: Flask) -> None:
    """Give the app its caches of checked API keys and of verified tokens."""
    orchestrator = context.orchestrator_of(app)
    app.extensions[_KEYS_EXTENSION] = RevocationCache(orchestrator.engine)
    app.extensions[_TOKENS_EXTENSION] = VerifiedTokens(
        lambda token: credential.verify_token(orchestrator.settings, token, provider=orchestrator.provider)
    )
    app.extensions[_VERIFIED_KEYS_EXTENSION] = VerifiedTokens(
        lambda key: verify_key(orchestrator.engine, key), keeps_endless=True
    )


def requires(
    scope: str, *, takes_keys: bool = False
) -> Callable[[Callable[Concatenate[Principal, P], Response]], Callable[P, Response]]:
    """Pass the caller to the view as first argument; answer 401 or 403 to callers without `scope`.

    With `takes_keys` an API key is as good as a token, for clients that send nothing else, and the console's session
    counts for nothing.
    """

    def decorate(view: Callable[Concatenate[Principal, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
            presented = presented_credential() if takes_keys else presented_token()
            principal = authenticate(presented, takes_keys=takes_keys)
            return view(authorize(principal, scope), *args, **kwargs)

        guarded.__dict__["scope"] = scope
        return guarded

    return decorate


class RevocationCache:
    """Caches for REVOCATION_SECONDS that an API key is valid, so that most calls need no query."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._checked_at: dict[str, float] = {}

    def require(self, key_id: str) -> None:
        """Raise InvalidCredential if the key was revoked or has expired."""
        now = time.monotonic()
        if now - self._checked_at.get(key_id, float("-inf")) < REVOCATION_SECONDS:
            return
        with statement(self._engine) as conn:
            if keys.is_revoked(conn, key_id):
                raise InvalidCredential("The token's API key was revoked.", details={"reason": "revoked"})
        if len(self._checked_at) >= _MAX_CACHED_KEYS:
            self._checked_at.clear()
        self._checked_at[key_id] = now


class VerifiedTokens:
    """Remembers for VERIFIED_SECONDS whom a token belongs to, so that most calls verify no signature; thread-safe.

    A token is not remembered beyond its end. Whether its key was revoked is RevocationCache's to say, at each call.
    What has no end is remembered only if it `keeps_endless`: API keys, whose end RevocationCache knows.
    """

    def __init__(self, verify: Callable[[str], Principal], *, keeps_endless: bool = False) -> None:
        self._verify = verify
        self._end = float("inf") if keeps_endless else 0.0
        self._known: dict[bytes, tuple[Principal, float]] = {}

    def principal_of(self, token: str, *, now: float) -> Principal:
        """Return the token's caller at `now` (seconds since 1970). Raises what `verify` raises."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None:
            principal, verified_at = known
            if 0 <= now - verified_at < VERIFIED_SECONDS and now < (principal.expires_at or self._end):
                return principal
        principal = self._verify(token)
        if len(self._known) >= _MAX_VERIFIED_TOKENS:
            self._known.clear()
        self._known[digest] = (principal, now)
        return principal


def authenticate(token: str, *, takes_keys: bool = False) -> Principal:
    """Return the caller that `token` belongs to, and charge the call to its rate limit.

    Raises InvalidCredential for anything but a valid JWT, or API key if it `takes_keys`; RateLimited after too many
    calls.
    """
    with rate_limit.counting_failures():
        principal = audit.record_principal(_identify_key(token) if takes_keys else identify(token))
    rate_limit.charge(principal)
    return principal


def identify(token: str) -> Principal:
    """Return the caller that `token` belongs to, without a charge. Raises InvalidCredential."""
    if credential.parse_api_key(token):
        raise InvalidCredential(
            "An API key is not accepted here; exchange it for a token with POST /v1/auth/token.",
            details={"reason": "api_key"},
        )
    tokens = cast(VerifiedTokens, current_app.extensions[_TOKENS_EXTENSION])
    return tokens.principal_of(token, now=time.time())


def _identify_key(presented: str) -> Principal:
    """Return the caller of an API key, else of a token. Raises InvalidCredential."""
    parsed = credential.parse_api_key(presented)
    if parsed is None:
        return identify(presented)
    audit.record_claimed_key(parsed.id)
    known = cast(VerifiedTokens, current_app.extensions[_VERIFIED_KEYS_EXTENSION])
    return known.principal_of(presented, now=time.time())


def verify_key(engine: Engine, presented: str) -> Principal:
    """Return the caller of an API key, and record the key's use. Raises InvalidCredential."""
    with statement(engine) as conn:
        principal = keys.verify(conn, presented)
        if principal is None:
            raise InvalidCredential("The API key is unknown, expired or revoked.", details={"reason": "key"})
        keys.touch(conn, principal.key_id)
    return principal


def authorize(principal: Principal, scope: str) -> Principal:
    """Return the caller. Raises InvalidCredential if its key was revoked, Forbidden if it lacks `scope`."""
    revocation_cache_of(current_app).require(principal.key_id)
    return require_scope(principal, scope)


def revocation_cache_of(app: Flask) -> RevocationCache:
    """Return an app's cache of checked API keys."""
    return cast(RevocationCache, app.extensions[_KEYS_EXTENSION])


def require_scope(principal: Principal, scope: str) -> Principal:
    """Return the caller. Raises Forbidden if it lacks `scope`."""
    if not principal.may(scope):
        raise Forbidden(
            f"This needs the scope {scope}.",
            details={"required_scope": scope, "provided_scopes": sorted(principal.scopes)},
        )
    return principal


def presented_token() -> str:
    """Return the request's token: from a header, else from the cookie of the console's session.

    Raises Unauthenticated if it has none, Forbidden for a cookie in a request from another origin.
    """
    try:
        return presented_credential()
    except Unauthenticated:
        token = session_cookie.presented()
        if token is None:
            raise
        return token


def presented_credential() -> str:
    """Return the request's bearer token, else its X-API-Key header, which OctoLLM's clients send.

    Raises Unauthenticated if it has neither.
    """
    authorization = request.authorization
    if authorization is not None and authorization.type == "bearer" and authorization.token:
        return authorization.token
    if key := request.headers.get("X-API-Key", "").strip():
        return key
    raise Unauthenticated

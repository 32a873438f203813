"""Authenticates streams by bearer token, ticket or WebSocket subprotocol, and rechecks access while they are open."""

import time
from collections.abc import Callable
from functools import wraps

from flask import Response, current_app, request

from api.middleware import audit, context, rate_limit
from api.middleware.auth import (
    authenticate,
    authorize,
    presented_token,
    require_scope,
    revocation_cache_of,
)
from api.streaming import tickets
from orchestrator.auth.credential import Principal
from orchestrator.models.errors import InvalidCredential

SUBPROTOCOL = "octollm.v1"
# together with REVOCATION_SECONDS of api.middleware.auth, a stream ends within 20 s of its key's revocation
RECHECK_SECONDS = 15.0
_BEARER = "bearer."


def admits(scope: str) -> Callable[[Callable[[Principal, str], Response]], Callable[[str], Response]]:
    """Do what `requires` does, for a view of one task; accept a ticket or a subprotocol as well as a token."""

    def decorate(view: Callable[[Principal, str], Response]) -> Callable[[str], Response]:
        @wraps(view)
        def guarded(task_id: str) -> Response:
            return view(admit(task_id, scope), task_id)

        guarded.__dict__["scope"] = scope
        return guarded

    return decorate


def admit(task_id: str, scope: str) -> Principal:
    """Return the caller that may stream this task, and charge the call to its rate limit.

    Raises Unauthenticated, InvalidCredential, Forbidden or RateLimited.
    """
    if ticket := request.args.get("ticket"):
        with rate_limit.counting_failures():
            orchestrator = context.orchestrator()
            principal = tickets.redeem(
                orchestrator.redis, ticket, task_id=task_id, secret=orchestrator.ticket_secret
            )
        rate_limit.charge(audit.record_principal(principal))
        return authorize(principal, scope)
    return authorize(authenticate(_subprotocol_token() or presented_token()), scope)


def _subprotocol_token() -> str | None:
    """Return the token of `Sec-WebSocket-Protocol: octollm.v1, bearer.<JWT>`."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    found = (name.strip().removeprefix(_BEARER) for name in offered if name.strip().startswith(_BEARER))
    return next(found, None)


class AccessRecheck:
    """Rechecks one caller's access with one scope while a stream or long poll is open; create it in its request.

    A stream may be open for days, and its key may be revoked meanwhile. The first check is due after RECHECK_SECONDS,
    as the request has just been checked; with `is_checked=False` it is due at once.
    """

    def __init__(self, principal: Principal, scope: str, *, is_checked: bool = True) -> None:
        self._principal = principal
        self._scope = scope
        # the code that sends a response's body may have no app context
        self._cache = revocation_cache_of(current_app)
        self._due_at = time.monotonic() + (RECHECK_SECONDS if is_checked else 0.0)

    @property
    def seconds_left(self) -> float:
        """Seconds until `require` must be called again, at least 0."""
        until = (self._principal.expires_at or float("inf")) - time.time()
        return max(0.0, min(until, self._due_at - time.monotonic()))

    def require(self) -> None:
        """Return if the caller still has access; query the database only if a check is due.

        Raises InvalidCredential, Forbidden, and SQLAlchemyError if the database is away.
        """
        expires_at = self._principal.expires_at
        if expires_at is not None and expires_at <= time.time():
            raise InvalidCredential("The token has expired.", details={"reason": "expired"})
        if time.monotonic() >= self._due_at:
            self._cache.require(self._principal.key_id)
            require_scope(self._principal, self._scope)
            self._due_at = time.monotonic() + RECHECK_SECONDS

"""Lets a caller into a stream: by what any call shows, or by what a browser can: a ticket, a subprotocol."""

from collections.abc import Callable
from functools import wraps

from flask import Response, request

from api.middleware import audit, context, limit
from api.middleware.auth import identify, permit, shown_credential
from api.streaming import tickets
from orchestrator.auth.credential import Principal

SUBPROTOCOL = "octollm.v1"
_BEARER = "bearer."


def admits(scope: str) -> Callable[[Callable[[Principal, str], Response]], Callable[[str], Response]]:
    """Do for a view on one task what `requires` does, and take a ticket or a subprotocol for a token as well."""

    def decorate(view: Callable[[Principal, str], Response]) -> Callable[[str], Response]:
        @wraps(view)
        def guarded(task_id: str) -> Response:
            return view(admit(task_id, scope), task_id)

        guarded.__dict__["scope"] = scope
        return guarded

    return decorate


def admit(task_id: str, scope: str) -> Principal:
    """Return who wants to stream this task, and count the call.

    Raises Unauthenticated, InvalidCredential, Forbidden or RateLimited.
    """
    if ticket := request.args.get("ticket"):
        with limit.counting_failures():
            orchestrator = context.orchestrator()
            principal = tickets.redeem(
                orchestrator.redis, ticket, task_id=task_id, secret=orchestrator.ticket_secret
            )
        limit.charge(audit.knows(principal))
        return permit(principal, scope)
    return permit(identify(_subprotocol_token() or shown_credential()), scope)


def _subprotocol_token() -> str | None:
    """Return the token of `Sec-WebSocket-Protocol: octollm.v1, bearer.<JWT>`."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    found = (name.strip().removeprefix(_BEARER) for name in offered if name.strip().startswith(_BEARER))
    return next(found, None)

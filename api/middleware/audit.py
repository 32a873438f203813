"""Decides which requests the audit log records: those that change or reveal something, and those that were refused."""

import re
from http import HTTPStatus
from typing import cast

from flask import Flask, Response, current_app, g, request

from api.middleware import context, rate_limit
from api.middleware.audit_buffer import AuditBuffer
from api.middleware.problem import MEDIA_TYPE
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import open_engine
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.models.errors import Forbidden, NotFound, OctoError, Unauthenticated

_OTHER_CALL = "call"
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
# only ids that we made; any other text in a path might be a misplaced secret
_ID = re.compile(r"(?:task|appr|sched)_[0-9A-Za-z]{16}|[0-9a-f]{64}")
_EXTENSION = "octollm_audit"


def install(app: Flask) -> None:
    """Record the app's requests, over a database connection of its own."""
    settings = context.orchestrator_of(app).settings
    app.extensions[_EXTENSION] = AuditBuffer(open_engine(settings.database_url, pool_size=1))
    app.after_request(_record_request)


def buffer_of(app: Flask) -> AuditBuffer:
    """Return an app's buffer of entries that are not written yet."""
    return cast(AuditBuffer, app.extensions[_EXTENSION])


def action_of(endpoint: str | None) -> str | None:
    """Return the action that the view of a Flask endpoint declares; None if it declares none."""
    view = current_app.view_functions.get(endpoint or "")
    # flask-sock's view declares no operation
    return view.__dict__["operation"].audit_action if view and "operation" in view.__dict__ else None


def record_principal(principal: Principal) -> Principal:
    """Set the caller of the current request for its audit entry; return the caller."""
    g.principal = principal
    return principal


def record_claimed_key(key_id: str | None) -> None:
    """Set the key id that the current request claims, used if the key turns out to be invalid."""
    g.claimed_key_id = key_id


def record_object(name: str) -> None:
    """Set the object of the current request, for views where neither the path nor Location contains its id."""
    g.audit_object = name


def rename_action(action: str) -> None:
    """Set the action of the current request, for a view that also does something else than it declares."""
    g.audit_action = action


def leave_out_if_allowed() -> None:
    """Record the current request only if it is refused, for a view that adds entries of its own by `record_action`."""
    g.audit_left_out = True


def record_action(action: str, *, target: str, error: OctoError | None = None) -> None:
    """Add an entry for one of several actions in a request, such as a message on a WebSocket."""
    is_denied = isinstance(error, Unauthenticated | Forbidden | NotFound)
    outcome = (
        AuditOutcome.ALLOWED if error is None else AuditOutcome.DENIED if is_denied else AuditOutcome.FAILED
    )
    _add(action, target, outcome, reason=error.code if error else None)


def _record_request(response: Response) -> Response:
    if request.method == "OPTIONS":
        # Flask answers it under the view's endpoint, without a credential
        return response
    action = g.get("audit_action") or action_of(request.endpoint)
    status = response.status_code
    if status < HTTPStatus.BAD_REQUEST:
        if action is not None and not g.get("audit_left_out"):
            _add(action, _object(response), AuditOutcome.ALLOWED)
    elif action is not None or (request.endpoint and status in _DENIED):
        outcome = (
            AuditOutcome.DENIED
            if status in _DENIED or status == HTTPStatus.NOT_FOUND
            else AuditOutcome.FAILED
        )
        _add(
            action or _OTHER_CALL,
            _object(response) if action else f"{request.method} {request.url_rule}",
            outcome,
            reason=_reason(response),
        )
    return response


def _add(action: str, target: str | None, outcome: AuditOutcome, *, reason: str | None = None) -> None:
    principal: Principal | None = g.get("principal")
    network = rate_limit.network_of(request.remote_addr)
    entry = AuditEntry(
        action=action,
        outcome=outcome,
        tenant=principal.tenant if principal else None,
        key_id=principal.key_id if principal else g.get("claimed_key_id"),
        subject=principal.subject if principal else None,
        address=request.remote_addr,
        object=target,
        reason=reason,
        request_id=context.request_id(),
    )
    source = f"{principal.tenant}/{principal.key_id}" if principal else network
    buffer_of(current_app).add(entry, source=source)


def _object(response: Response) -> str | None:
    if "audit_object" in g:
        return cast(str, g.audit_object)
    candidates = [
        response.headers.get("Location", "").rpartition("/")[2],
        *(request.view_args or {}).values(),
    ]
    return next((name for name in candidates if _ID.fullmatch(name)), None)


def _reason(response: Response) -> str:
    """Return the problem's code, with the reason from its details: never text that the caller sent."""
    problem = response.get_json(silent=True) if response.mimetype == MEDIA_TYPE else None
    if not isinstance(problem, dict):
        return f"http_{response.status_code}"
    details = problem.get("details", {})
    reason = details.get("reason") or details.get("required_scope")
    return f"{problem['code']}:{reason}" if isinstance(reason, str) else str(problem["code"])

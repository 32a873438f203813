"""Says what of a request goes into the audit log: what changes something or gives it away, and what was refused."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from flask import Flask, Response, current_app, g, request

from api.middleware import context, limit
from api.middleware.audit_buffer import AuditBuffer
from api.middleware.problem import MEDIA_TYPE
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import open_engine
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.models.errors import Forbidden, NotFound, OctoError, Unauthenticated

# every view that changes something stands here (a test sees to it), and the one that gives files away
ACTIONS: Mapping[str, str] = {
    "auth.exchange_key": "token.issue",
    "tasks.submit": "task.submit",
    "tasks.retry": "task.retry",
    "control.delete": "task.cancel",
    "control.cancel": "task.cancel",
    "feedback.report": "task.feedback",
    "stream.issue_ticket": "ticket.issue",
    "files.store": "file.upload",
    "files.fetch": "file.download",
    "files.delete": "file.delete",
    "arms.register": "arm.register",
}
_ANY_CALL = "call"
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
# ids of ours; anything else in a path might be a secret in the wrong place
_ID = re.compile(r"task_[0-9A-Za-z]{16}|[0-9a-f]{64}")
_NAME = "octollm_audit"


def install(app: Flask) -> None:
    """Have the app's requests written down, over a connection of its own: never in a caller's way."""
    settings = context.orchestrator_of(app).settings
    app.extensions[_NAME] = AuditBuffer(open_engine(settings.database_url, pool_size=1))
    app.after_request(_note_request)


def buffer_of(app: Flask) -> AuditBuffer:
    """Return the entries of an app that are not written yet."""
    return cast(AuditBuffer, app.extensions[_NAME])


def knows(principal: Principal) -> Principal:
    """Keep in mind who makes this request; return them."""
    g.principal = principal
    return principal


def claims(key_id: str | None) -> None:
    """Keep in mind which key this request claims to show: for the case that it does not hold."""
    g.claimed_key_id = key_id


def concerns(thing: str) -> None:
    """Keep in mind what this request is about, where neither its path nor its answer's Location says it."""
    g.audit_object = thing


def note(action: str, *, thing: str, error: OctoError | None = None) -> None:
    """Write down a deed inside a request that does more than one: what is said on a WebSocket."""
    is_denied = isinstance(error, Unauthenticated | Forbidden | NotFound)
    outcome = (
        AuditOutcome.ALLOWED if error is None else AuditOutcome.DENIED if is_denied else AuditOutcome.FAILED
    )
    _add(action, thing, outcome, reason=error.code if error else None)


def _note_request(response: Response) -> Response:
    if request.method == "OPTIONS":
        # Flask answers it in the view's name, to anybody
        return response
    action = ACTIONS.get(request.endpoint or "")
    status = response.status_code
    if status < HTTPStatus.BAD_REQUEST:
        if action is not None:
            _add(action, _thing(response), AuditOutcome.ALLOWED)
    elif action is not None or (request.endpoint and status in _DENIED):
        outcome = (
            AuditOutcome.DENIED
            if status in _DENIED or status == HTTPStatus.NOT_FOUND
            else AuditOutcome.FAILED
        )
        _add(
            action or _ANY_CALL,
            _thing(response) if action else f"{request.method} {request.url_rule}",
            outcome,
            reason=_reason(response),
        )
    return response


def _add(action: str, thing: str | None, outcome: AuditOutcome, *, reason: str | None = None) -> None:
    principal: Principal | None = g.get("principal")
    network = limit.network_of(request.remote_addr)
    entry = AuditEntry(
        action=action,
        outcome=outcome,
        tenant=principal.tenant if principal else None,
        key_id=principal.key_id if principal else g.get("claimed_key_id"),
        subject=principal.subject if principal else None,
        address=request.remote_addr,
        object=thing,
        reason=reason,
        request_id=context.request_id(),
    )
    source = f"{principal.tenant}/{principal.key_id}" if principal else network
    buffer_of(current_app).add(entry, source=source)


def _thing(response: Response) -> str | None:
    if "audit_object" in g:
        return cast(str, g.audit_object)
    named = [response.headers.get("Location", "").rpartition("/")[2], *(request.view_args or {}).values()]
    return next((name for name in named if _ID.fullmatch(name)), None)


def _reason(response: Response) -> str:
    """Return the problem's code, with what its details say why: words of ours, not the caller's."""
    told = response.get_json(silent=True) if response.mimetype == MEDIA_TYPE else None
    if not isinstance(told, dict):
        return f"http_{response.status_code}"
    details = told.get("details", {})
    why = details.get("reason") or details.get("required_scope")
    return f"{told['code']}:{why}" if isinstance(why, str) else str(told["code"])

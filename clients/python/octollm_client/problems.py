"""An exception for each `code` of a problem. Generated from /openapi.json by `make clients`: do not edit."""

from octollm_client import errors


class AlreadyDecided(errors.Conflict):
    """Another decision came first, or the approval was withdrawn."""


class BlockedByPolicy(errors.Forbidden):
    """The safety policy rejects this task."""


class CursorAhead(errors.Conflict):
    """The cursor is beyond the task's last event: the database was restored, and its history is an older one."""


class EndpointNotFound(errors.NotFound):
    """There is no such endpoint."""


class IdempotencyConflict(errors.Conflict):
    """This Idempotency-Key was used with another body; use a new key for a new task."""


class InsufficientPermissions(errors.Forbidden):
    """The credential lacks a scope."""


class InternalError(errors.ServerError):
    """Internal error; search the server's log for the request id."""


class InvalidCredential(errors.Unauthenticated):
    """The credential is invalid."""


class InvalidOperation(errors.Conflict):
    """The resource's state does not allow this operation."""


class InvalidPlan(errors.Invalid):
    """The plan breaks a rule."""


class MalformedJson(errors.BadRequest):
    """The body is not valid JSON."""


class MethodNotAllowed(errors.ApiError):
    """This endpoint does not support this method; see the Allow header."""


class MissingAuth(errors.Unauthenticated):
    """Send a JWT as `Authorization: Bearer <token>`; POST /v1/auth/token issues one for an API key."""


class NotCached(errors.ServerError):
    """No cached result answers this task, and only_cached forbids running it."""


class NotTheAssignee(errors.Forbidden):
    """The approval names another key, which alone may decide it."""


class OwnTask(errors.Forbidden):
    """This key submitted the task; with APPROVAL_FOUR_EYES=on another key must decide its approvals."""


class PayloadTooLarge(errors.ApiError):
    """The body is larger than this endpoint accepts."""


class QueueFull(errors.ServerError):
    """More work is queued than the workers can start soon."""


class RateLimitExceeded(errors.TooMany):
    """The caller's rate limit is used up."""


class ResourceNotFound(errors.NotFound):
    """The resource does not exist."""


class ServiceUnavailable(errors.ServerError):
    """A required server can't be reached; try again."""


class StillRunning(errors.ServerError):
    """The task has not ended in the time that a caller may wait for it."""


class StorageLimitExceeded(errors.Forbidden):
    """The tenant's files use all of its storage; delete some with DELETE /v1/files/{id}."""


class TenantLimitExceeded(errors.TooMany):
    """The tenant has reached a limit."""


class TooManyTasks(errors.TooMany):
    """The tenant has reached its limit of open tasks; wait for some to end."""


class TooMuch(errors.TooMany):
    """A limit is reached; try again after details.retry_after seconds."""


class Unplannable(errors.Invalid):
    """No recipe matches this goal and no model is configured."""


class UnsupportedMediaType(errors.ApiError):
    """Send the body as application/json in UTF-8."""


class UpgradeRequired(errors.ApiError):
    """This endpoint is a WebSocket: send an upgrade request, or use GET /events instead."""


class ValidationError(errors.Invalid):
    """The request is well-formed but invalid."""


class ApprovalExpired(AlreadyDecided):
    """The time to decide was over."""


BY_CODE: dict[str, type[errors.ApiError]] = {
    "already_decided": AlreadyDecided,
    "approval_expired": ApprovalExpired,
    "blocked_by_policy": BlockedByPolicy,
    "cursor_ahead": CursorAhead,
    "endpoint_not_found": EndpointNotFound,
    "idempotency_conflict": IdempotencyConflict,
    "insufficient_permissions": InsufficientPermissions,
    "internal_error": InternalError,
    "invalid_credential": InvalidCredential,
    "invalid_operation": InvalidOperation,
    "invalid_plan": InvalidPlan,
    "malformed_json": MalformedJson,
    "method_not_allowed": MethodNotAllowed,
    "missing_auth": MissingAuth,
    "not_cached": NotCached,
    "not_the_assignee": NotTheAssignee,
    "own_task": OwnTask,
    "payload_too_large": PayloadTooLarge,
    "queue_full": QueueFull,
    "rate_limit_exceeded": RateLimitExceeded,
    "resource_not_found": ResourceNotFound,
    "service_unavailable": ServiceUnavailable,
    "still_running": StillRunning,
    "storage_limit_exceeded": StorageLimitExceeded,
    "tenant_limit_exceeded": TenantLimitExceeded,
    "too_many_tasks": TooManyTasks,
    "too_much": TooMuch,
    "unplannable": Unplannable,
    "unsupported_media_type": UnsupportedMediaType,
    "upgrade_required": UpgradeRequired,
    "validation_error": ValidationError,
}


def class_of(code: str | None, status: int) -> type[errors.ApiError]:
    """Return the class of a problem; that of its status, if a later server has a new code."""
    return BY_CODE.get(code or "") or errors.STATUS_CLASSES.get(status, errors.ApiError)

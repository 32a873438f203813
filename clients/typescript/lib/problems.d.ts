// The types of problems.js. Generated from /openapi.json by `make clients`: do not edit.

import { ApiError, BadRequest, Conflict, Forbidden, Invalid, NotFound, ServerError, TooMany, Unauthenticated } from "./errors.js";

/** Another decision came first, or the approval was withdrawn. */
export class AlreadyDecided extends Conflict {}
/** The safety policy rejects this task. */
export class BlockedByPolicy extends Forbidden {}
/** The cursor is beyond the task's last event: the database was restored, and its history is an older one. */
export class CursorAhead extends Conflict {}
/** There is no such endpoint. */
export class EndpointNotFound extends NotFound {}
/** This Idempotency-Key was used with another body; use a new key for a new task. */
export class IdempotencyConflict extends Conflict {}
/** The credential lacks a scope. */
export class InsufficientPermissions extends Forbidden {}
/** Internal error; search the server's log for the request id. */
export class InternalError extends ServerError {}
/** The credential is invalid. */
export class InvalidCredential extends Unauthenticated {}
/** The resource's state does not allow this operation. */
export class InvalidOperation extends Conflict {}
/** The plan breaks a rule. */
export class InvalidPlan extends Invalid {}
/** The body is not valid JSON. */
export class MalformedJson extends BadRequest {}
/** This endpoint does not support this method; see the Allow header. */
export class MethodNotAllowed extends ApiError {}
/** Send a JWT as `Authorization: Bearer <token>`; POST /v1/auth/token issues one for an API key. */
export class MissingAuth extends Unauthenticated {}
/** No cached result answers this task, and only_cached forbids running it. */
export class NotCached extends ServerError {}
/** The approval names another key, which alone may decide it. */
export class NotTheAssignee extends Forbidden {}
/** This key submitted the task; with APPROVAL_FOUR_EYES=on another key must decide its approvals. */
export class OwnTask extends Forbidden {}
/** The body is larger than this endpoint accepts. */
export class PayloadTooLarge extends ApiError {}
/** More work is queued than the workers can start soon. */
export class QueueFull extends ServerError {}
/** The caller's rate limit is used up. */
export class RateLimitExceeded extends TooMany {}
/** The resource does not exist. */
export class ResourceNotFound extends NotFound {}
/** A required server can't be reached; try again. */
export class ServiceUnavailable extends ServerError {}
/** The task has not ended in the time that a caller may wait for it. */
export class StillRunning extends ServerError {}
/** The tenant's files use all of its storage; delete some with DELETE /v1/files/{id}. */
export class StorageLimitExceeded extends Forbidden {}
/** The tenant has reached a limit. */
export class TenantLimitExceeded extends TooMany {}
/** The tenant has reached its limit of open tasks; wait for some to end. */
export class TooManyTasks extends TooMany {}
/** A limit is reached; try again after details.retry_after seconds. */
export class TooMuch extends TooMany {}
/** No recipe matches this goal and no model is configured. */
export class Unplannable extends Invalid {}
/** Send the body as application/json in UTF-8. */
export class UnsupportedMediaType extends ApiError {}
/** This endpoint is a WebSocket: send an upgrade request, or use GET /events instead. */
export class UpgradeRequired extends ApiError {}
/** The request is well-formed but invalid. */
export class ValidationError extends Invalid {}
/** The time to decide was over. */
export class ApprovalExpired extends AlreadyDecided {}

export const BY_CODE: Readonly<Record<string, typeof ApiError>>;

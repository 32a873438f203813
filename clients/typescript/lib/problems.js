// An error class for each `code` of a problem. Generated from /openapi.json by `make clients`: do not edit.

import { ApiError, BadRequest, Conflict, Forbidden, Invalid, NotFound, ServerError, TooMany, Unauthenticated } from "./errors.js";

export class AlreadyDecided extends Conflict {}
export class BlockedByPolicy extends Forbidden {}
export class CursorAhead extends Conflict {}
export class EndpointNotFound extends NotFound {}
export class IdempotencyConflict extends Conflict {}
export class InsufficientPermissions extends Forbidden {}
export class InternalError extends ServerError {}
export class InvalidCredential extends Unauthenticated {}
export class InvalidOperation extends Conflict {}
export class InvalidPlan extends Invalid {}
export class MalformedJson extends BadRequest {}
export class MethodNotAllowed extends ApiError {}
export class MissingAuth extends Unauthenticated {}
export class NotCached extends ServerError {}
export class NotTheAssignee extends Forbidden {}
export class OwnTask extends Forbidden {}
export class PayloadTooLarge extends ApiError {}
export class QueueFull extends ServerError {}
export class RateLimitExceeded extends TooMany {}
export class ResourceNotFound extends NotFound {}
export class ServiceUnavailable extends ServerError {}
export class StillRunning extends ServerError {}
export class StorageLimitExceeded extends Forbidden {}
export class TenantLimitExceeded extends TooMany {}
export class TooManyTasks extends TooMany {}
export class TooMuch extends TooMany {}
export class Unplannable extends Invalid {}
export class UnsupportedMediaType extends ApiError {}
export class UpgradeRequired extends ApiError {}
export class ValidationError extends Invalid {}
export class ApprovalExpired extends AlreadyDecided {}

/** @type {Readonly<Record<string, typeof import('./errors.js').ApiError>>} */
export const BY_CODE = {
  already_decided: AlreadyDecided,
  approval_expired: ApprovalExpired,
  blocked_by_policy: BlockedByPolicy,
  cursor_ahead: CursorAhead,
  endpoint_not_found: EndpointNotFound,
  idempotency_conflict: IdempotencyConflict,
  insufficient_permissions: InsufficientPermissions,
  internal_error: InternalError,
  invalid_credential: InvalidCredential,
  invalid_operation: InvalidOperation,
  invalid_plan: InvalidPlan,
  malformed_json: MalformedJson,
  method_not_allowed: MethodNotAllowed,
  missing_auth: MissingAuth,
  not_cached: NotCached,
  not_the_assignee: NotTheAssignee,
  own_task: OwnTask,
  payload_too_large: PayloadTooLarge,
  queue_full: QueueFull,
  rate_limit_exceeded: RateLimitExceeded,
  resource_not_found: ResourceNotFound,
  service_unavailable: ServiceUnavailable,
  still_running: StillRunning,
  storage_limit_exceeded: StorageLimitExceeded,
  tenant_limit_exceeded: TenantLimitExceeded,
  too_many_tasks: TooManyTasks,
  too_much: TooMuch,
  unplannable: Unplannable,
  unsupported_media_type: UnsupportedMediaType,
  upgrade_required: UpgradeRequired,
  validation_error: ValidationError,
};

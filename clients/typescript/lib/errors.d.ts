import type { Status } from "./types.js";

export class OctollmError extends Error {
  constructor(message: string, options?: ErrorOptions);
}

/** The server gave no answer, or only a part of one; if `wasSent`, the request may have had its effect. */
export class ConnectionFailed extends OctollmError {
  constructor(message: string, how: { wasSent: boolean; cause?: unknown });
  wasSent: boolean;
}

/** The task failed or was cancelled; `task` is its last status. */
export class TaskFailed extends OctollmError {
  constructor(task: Status);
  task: Status;
  code: string;
}

/** The task did not end in time; it goes on. `task` is its last status. */
export class WaitTimeout extends OctollmError {
  constructor(task: Status, seconds: number);
  task: Status;
}

/** The server refused a request: `code` is stable, `details` depends on it, `requestId` is in the server's log. */
export class ApiError extends OctollmError {
  constructor(problem: Record<string, any>, status: number, retryAfter: number | null);
  status: number;
  isProblem: boolean;
  code: string;
  details: Record<string, any>;
  requestId: string | null;
  retryable: boolean;
  retryAfter: number | null;
}

export class BadRequest extends ApiError {}
export class Unauthenticated extends ApiError {}
export class Forbidden extends ApiError {}
export class NotFound extends ApiError {}
export class Conflict extends ApiError {}
export class Invalid extends ApiError {}
export class TooMany extends ApiError {}
export class ServerError extends ApiError {}

export function classOfStatus(status: number): typeof ApiError;

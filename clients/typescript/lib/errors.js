/** The errors of the client; problems.js has a class for each code of the API. */

export class OctollmError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The server gave no answer, or only a part of one; if `wasSent`, the request may have had its effect. */
export class ConnectionFailed extends OctollmError {
  /** @param {string} message @param {{wasSent: boolean, cause?: unknown}} how */
  constructor(message, { wasSent, cause }) {
    super(message, { cause });
    this.wasSent = wasSent;
  }
}

/** The task failed or was cancelled; `task` is its last status. */
export class TaskFailed extends OctollmError {
  /** @param {import("./types.js").Status} task */
  constructor(task) {
    super(`${task.task_id} ${task.status}: ${task.error?.message ?? "no reason given"}`);
    this.task = task;
    this.code = task.error?.code ?? task.status;
  }
}

/** The task did not end in time; it goes on. `task` is its last status. */
export class WaitTimeout extends OctollmError {
  /** @param {import("./types.js").Status} task @param {number} seconds */
  constructor(task, seconds) {
    super(`${task.task_id} has not ended after ${seconds} s; it goes on. Wait again, or cancel it.`);
    this.task = task;
  }
}

/** The server refused a request: `code` is stable, `details` depends on it, `requestId` is in the server's log. */
export class ApiError extends OctollmError {
  /** @param {Record<string, any>} problem @param {number} status @param {number | null} retryAfter in seconds */
  constructor(problem, status, retryAfter) {
    super(String(problem.message ?? problem.detail ?? `HTTP status ${status}`));
    this.status = status;
    this.isProblem = typeof problem.code === "string";
    this.code = String(problem.code ?? `http_${status}`);
    /** @type {Record<string, any>} */
    this.details = problem.details ?? {};
    /** @type {string | null} */
    this.requestId = problem.request_id ?? null;
    this.retryable = problem.retryable === true;
    this.retryAfter = retryAfter;
  }
}

/** 400: the request can't be read. */
export class BadRequest extends ApiError {}
/** 401: the credential is missing or invalid. */
export class Unauthenticated extends ApiError {}
/** 403: the credential or a policy does not allow it. */
export class Forbidden extends ApiError {}
/** 404: it does not exist, or belongs to another tenant. */
export class NotFound extends ApiError {}
/** 409: the state does not allow it. */
export class Conflict extends ApiError {}
/** 422: the request breaks a rule. */
export class Invalid extends ApiError {}
/** 429: a limit is reached; `retryAfter` says when to try again. */
export class TooMany extends ApiError {}
/** 5xx: the server can't do it now. */
export class ServerError extends ApiError {}

/** @type {Readonly<Record<number, typeof ApiError>>} */
const BY_STATUS = {
  400: BadRequest,
  401: Unauthenticated,
  403: Forbidden,
  404: NotFound,
  409: Conflict,
  422: Invalid,
  429: TooMany,
};

/** The class of a status.
 * @param {number} status
 * @returns {typeof ApiError}
 */
export function classOfStatus(status) {
  return BY_STATUS[status] ?? (status >= 500 ? ServerError : ApiError);
}

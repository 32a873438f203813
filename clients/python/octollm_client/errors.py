"""The errors of the client.

OctollmError
├── ConnectionFailed   the server gave no answer, or only a part of one
├── TaskFailed         a task of `run` failed or was cancelled
├── WaitTimeout        a task did not end in time; it goes on
├── DownloadDamaged    a file's content is not what its id says
└── ApiError           the server refused a request: one class for each status, and one for each `code`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octollm_client import types as t


class OctollmError(Exception):
    """Something went wrong; `message` says what, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConnectionFailed(OctollmError):
    """The server gave no answer, or only a part of one; if `was_sent`, the request may have had its effect."""

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class TaskFailed(OctollmError):
    """The task failed or was cancelled; `task` is its last status, `code` the code of its error."""

    def __init__(self, task: t.Status) -> None:
        error = task["error"]
        self.task = task
        self.task_id = task["task_id"]
        self.code = error["code"] if error else task["status"]
        super().__init__(
            f"{self.task_id} {task['status']}: {error['message'] if error else 'no reason given'}"
        )


class WaitTimeout(OctollmError):
    """The task did not end in time; it goes on. `task` is its last status."""

    def __init__(self, task: t.Status, seconds: float) -> None:
        self.task = task
        self.task_id = task["task_id"]
        super().__init__(
            f"{self.task_id} has not ended after {seconds:g} s; it goes on. Wait again, or cancel it."
        )


class DownloadDamaged(OctollmError):
    """The content that arrived does not have the SHA-256 that is the file's id."""


class ApiError(OctollmError):
    """The server refused a request.

    `code` is stable, `details` depends on it (`details["errors"]` lists field and message of each fault), `request_id`
    is in the server's log. `retry_after` is in seconds; None if the server names no time. `is_problem` is False for
    an answer that is not from OctoLLM, such as a proxy's.
    """

    def __init__(self, problem: Mapping[str, Any], *, status: int, retry_after: float | None) -> None:
        self.is_problem = isinstance(problem.get("code"), str)
        self.status = status
        self.code = str(problem.get("code") or f"http_{status}")
        self.details: dict[str, Any] = dict(problem.get("details") or {})
        self.request_id: str | None = problem.get("request_id")
        self.retryable = bool(problem.get("retryable"))
        self.retry_after = retry_after
        super().__init__(str(problem.get("message") or problem.get("detail") or f"HTTP status {status}"))

    def __str__(self) -> str:
        """Return the message with the code and the request's id."""
        tail = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.code}{tail})"


class BadRequest(ApiError):
    """400: the request can't be read."""


class Unauthenticated(ApiError):
    """401: the credential is missing or invalid."""


class Forbidden(ApiError):
    """403: the credential or a policy does not allow it."""


class NotFound(ApiError):
    """404: it does not exist, or belongs to another tenant."""


class Conflict(ApiError):
    """409: the state does not allow it."""


class Invalid(ApiError):
    """422: the request breaks a rule; `details["errors"]` may say which members."""


class TooMany(ApiError):
    """429: a limit is reached; `retry_after` says when to try again."""


class ServerError(ApiError):
    """5xx: the server can't do it now."""


STATUS_CLASSES: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: TooMany,
    **dict.fromkeys(range(500, 600), ServerError),
}

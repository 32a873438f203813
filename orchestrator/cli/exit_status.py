"""Exit statuses of the octollm command, and the errors of its HTTP client."""

from enum import IntEnum

from orchestrator.models.errors import OctoError, Unavailable


class ExitStatus(IntEnum):
    """Exit statuses, as EXIT_STATUSES explains them to users."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    UNREACHABLE = 4
    REFUSED = 5
    NOT_VALIDATED = 6
    DETACHED = 130


EXIT_STATUSES = """\b
Exit status:
  0    done; of a task: completed, and the judge found every criterion met
  1    failed; of a task: it failed, or the judge rejected its result
  2    wrong usage
  3    the task was cancelled
  4    the server can't be reached
  5    the server refused the request
  6    the task completed, but the judge could not check every criterion
  130  detached by Ctrl-C; the task goes on
"""


class RequestRefused(OctoError):
    """The server answered with an error status that a repetition would not change."""

    code = "refused"

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ServerUnreachable(Unavailable):
    """The server does not answer, or answers 502, 503 or 504."""

    code = "unreachable"


def status_of_error(error: OctoError) -> ExitStatus:
    """Return the exit status of a command that ended with `error`."""
    if isinstance(error, Unavailable):
        return ExitStatus.UNREACHABLE
    return ExitStatus.REFUSED if isinstance(error, RequestRefused) else ExitStatus.FAILED


def status_of_task(task: dict[str, object]) -> ExitStatus:
    """Return the exit status for a task's status document from the API; OK while it is not final."""
    result = task.get("result")
    validated = isinstance(result, dict) and bool(result.get("validation_passed"))
    match task["status"]:
        case "completed":
            return ExitStatus.OK if validated else ExitStatus.NOT_VALIDATED
        case "cancelled":
            return ExitStatus.CANCELLED
        case "failed":
            return ExitStatus.FAILED
    return ExitStatus.OK

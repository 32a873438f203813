"""The tree of our errors: each class has a stable code, says whether trying again can help, and what to do.

OctoError
├── SettingsError            the environment is wrong; the process must not start
├── InvalidInput             what the client sent can't be used (details.errors lists field and message)
│   └── InvalidPlan          a plan, the client's or a model's, breaks a rule
├── NotFound                 no such thing, or another tenant's
├── InvalidOperation         the thing is in a state that forbids it
├── Unauthenticated          no credential, or one that does not hold
├── Forbidden                the credential lacks a scope
├── Unavailable              a server we need is away
└── StepError                an arm could not do its step; recorded as the step's result
    ├── InvalidStepInput     its inputs break the arm's contract
    ├── SandboxUnavailable   no isolation for code nobody vouched for
    ├── ToolTimeout          a tool ran longer than its limit
    ├── ToolFailed           a tool could not do its work at all
    ├── OutputTooLarge       more than a step may return
    ├── StepCancelled        the task ended while the step ran
    ├── VerificationFailed   a check that had to hold does not
    ├── PatchRejected        a diff can't be read, or does not fit
    └── Unplannable          no recipe fits the goal and no model is configured
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class OctoError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", *, details: Mapping[str, Any] | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = dict(details or {})
        super().__init__(self.message)


class SettingsError(OctoError):
    """A setting is wrong."""

    code = "settings_error"


class InvalidInput(OctoError):
    """The request is well formed but can't be used."""

    code = "validation_error"

    @classmethod
    def at(cls, field: str, message: str) -> "InvalidInput":
        """Make the error of one field; `field` is a dotted path in the request."""
        return cls(f"{field}: {message}", details={"errors": [{"field": field, "message": message}]})


class InvalidPlan(InvalidInput):
    """The plan breaks a rule."""

    code = "invalid_plan"


class NotFound(OctoError):
    """There is no such resource."""

    code = "resource_not_found"


class InvalidOperation(OctoError):
    """The resource's state does not allow this."""

    code = "invalid_operation"


class Unauthenticated(OctoError):
    """Send a JWT as `Authorization: Bearer <token>`; POST /v1/auth/token makes one from an API key."""

    code = "missing_auth"


class InvalidCredential(Unauthenticated):
    """The credential does not hold."""

    code = "invalid_credential"


class Forbidden(OctoError):
    """The credential lacks a scope."""

    code = "insufficient_permissions"


class Unavailable(OctoError):
    """A server that this needs is away; try again."""

    code = "service_unavailable"
    retryable = True


class StepError(OctoError):
    """The arm could not do the step."""

    code = "step_failed"


class InvalidStepInput(StepError):
    """The step's inputs break the arm's contract."""

    code = "invalid_input"


class SandboxUnavailable(StepError):
    """No sandbox strong enough to run this code, and nobody vouched for it."""

    code = "sandbox_unavailable"


class ToolTimeout(StepError):
    """A tool ran longer than its limit."""

    code = "tool_timeout"
    retryable = True


class ToolFailed(StepError):
    """A tool could not do its work."""

    code = "tool_failed"


class OutputTooLarge(StepError):
    """The step's output is larger than a step may return."""

    code = "output_too_large"


class StepCancelled(StepError):
    """The task ended while this step ran."""

    code = "cancelled"


class VerificationFailed(StepError):
    """A check that had to hold does not."""

    code = "verification_failed"


class PatchRejected(StepError):
    """The patch can't be read, or does not fit the files."""

    code = "patch_rejected"


class Unplannable(StepError):
    """No recipe fits this goal and no model is configured."""

    code = "unplannable"

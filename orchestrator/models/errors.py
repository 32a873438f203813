"""The tree of our errors: each class has a stable code, says whether trying again can help, and what to do.

OctoError
├── SettingsError            the environment is wrong; the process must not start
├── InvalidInput             what the client sent can't be used (details.errors lists field and message)
│   └── InvalidPlan          a plan, the client's or a model's, breaks a rule
├── NotFound                 no such thing, or another tenant's
├── NotCached                no earlier result answers a task that is not to run
├── InvalidOperation         the thing is in a state that forbids it
│   └── IdempotencyConflict  the key of an earlier submission with another body
├── Unauthenticated          no credential, or one that does not hold
├── Forbidden                the credential lacks a scope
│   ├── BlockedByPolicy      the safety policy refuses what the task holds (details.kinds)
│   └── StorageFull          the tenant's files take as much room as they may
├── TooMuch                  more than we take now (details.retry_after, in seconds)
│   ├── RateLimited          more calls than the caller's rate allows
│   ├── TooManyTasks         the tenant has too many open tasks
│   ├── TenantLimit          the tenant has as much of something else as it may have (details.setting)
│   └── QueueFull            all tenants together have queued more work than we take on
├── Unavailable              a server we need is away
└── StepError                an arm could not do its step; recorded as the step's result
    ├── InvalidStepInput     its inputs break the arm's contract
    ├── SandboxUnavailable   no sandbox strong enough holds on this machine
    ├── ToolTimeout          a tool ran longer than its limit
    ├── ToolFailed           a tool could not do its work at all
    ├── OutputTooLarge       more than a step may return
    ├── VerificationFailed   a check that had to hold does not
    ├── PermitDenied         the step's row has no permit that is good for it
    ├── PatchRejected        a diff can't be read, or does not fit
    ├── Unplannable          no recipe fits the goal and no model is configured
    ├── BudgetExceeded       what the task may still spend is less than this call could cost
    ├── PriceUnknown         nobody knows the model's price, and the client set a limit in dollars
    ├── MustWait             not a failure: there is no room now (details.retry_after)
    │   ├── BudgetTaken      other calls of the task hold the rest of its budget
    │   └── ModelBusy        every model is at its rate limit (in model_errors)
    └── ModelError           a model gave no usable answer: orchestrator.models.model_errors

Stopped, a BaseException: the attempt was told to stop, so nothing that came of it may be stored
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


class Stopped(BaseException):
    """The attempt was told to stop: its lease is lost, its task has ended, its worker stops, or its time is over.

    No OctoError and no Exception, so that whoever makes do with a failure (a recipe instead of a model's plan, a
    criterion that is not checked) can't take it for one. Only the end of an attempt catches it; see
    workers.attempt.concerns. `counts_against_model` and `may_have_cost` are as in ModelError.
    """

    code: ClassVar[str] = "cancelled"
    counts_against_model: ClassVar[bool] = False
    may_have_cost: ClassVar[bool] = True

    def __init__(
        self, message: str = "The attempt was told to stop.", *, details: Mapping[str, Any] | None = None
    ) -> None:
        self.message = message
        self.details = dict(details or {})
        super().__init__(message)


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


class NotCached(OctoError):
    """No earlier result answers this task, and it is not to be run (only_cached)."""

    code = "not_cached"


class InvalidOperation(OctoError):
    """The resource's state does not allow this."""

    code = "invalid_operation"


class IdempotencyConflict(InvalidOperation):
    """This Idempotency-Key was used with another body; take a new key for a new task."""

    code = "idempotency_conflict"


class Unauthenticated(OctoError):
    """Send a JWT as `Authorization: Bearer <token>`; POST /v1/auth/token makes one from an API key."""

    code = "missing_auth"


class InvalidCredential(Unauthenticated):
    """The credential does not hold."""

    code = "invalid_credential"


class Forbidden(OctoError):
    """The credential lacks a scope."""

    code = "insufficient_permissions"


class BlockedByPolicy(Forbidden):
    """The safety policy refuses this task."""

    code = "blocked_by_policy"


class StorageFull(Forbidden):
    """The tenant's files take as much room as they may; delete some with DELETE /v1/files/{id}."""

    code = "storage_limit_exceeded"


class TooMuch(OctoError):
    """This is more than we take now; try again after details.retry_after seconds."""

    code = "too_much"
    retryable = True


class RateLimited(TooMuch):
    """The caller's rate limit is used up."""

    code = "rate_limit_exceeded"


class TooManyTasks(TooMuch):
    """The tenant has as many open tasks as it may have; wait for some to end."""

    code = "too_many_tasks"


class TenantLimit(TooMuch):
    """The tenant has as much of this as it may have."""

    code = "tenant_limit_exceeded"


class QueueFull(TooMuch):
    """More work is queued than the workers can take on soon."""

    code = "queue_full"


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
    """No sandbox that is strong enough holds on this machine."""

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


class VerificationFailed(StepError):
    """A check that had to hold does not."""

    code = "verification_failed"


class PermitDenied(StepError):
    """The step has no permit that is good for it."""

    code = "permit_denied"


class PatchRejected(StepError):
    """The patch can't be read, or does not fit the files."""

    code = "patch_rejected"


class Unplannable(StepError):
    """No recipe fits this goal and no model is configured."""

    code = "unplannable"


class BudgetExceeded(StepError):
    """What the task may still spend is less than this call could cost."""

    code = "budget_exceeded"


class PriceUnknown(StepError):
    """The model's price is not known, so a limit in dollars can't be kept."""

    code = "price_unknown"


class MustWait(StepError):
    """There is no room now; try again after details.retry_after seconds. Counts as no failure."""

    code = "must_wait"
    retryable = True


class BudgetTaken(MustWait):
    """The task's other calls hold what is left of its budget until they end."""

    code = "budget_taken"

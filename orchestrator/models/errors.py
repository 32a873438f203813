"""The tree of our errors: each class has a stable code, says whether a retry can help, and what to do.

OctoError
├── SettingsError            a setting is missing or wrong; the process must not start
├── InvalidInput             the request is invalid (details.errors lists field and message)
│   └── InvalidPlan          a client's or a model's plan breaks a rule
├── NotFound                 the resource does not exist, or belongs to another tenant
├── NotCached                no cached result for a task with only_cached
├── InvalidOperation         the resource's state does not allow the operation
│   ├── IdempotencyConflict  the Idempotency-Key was used with another body
│   └── AlreadyDecided       the approval is not pending any more (details: state, decided_by, decided_at, via)
│       └── TooLate          nobody decided in time
├── Unauthenticated          the credential is missing or invalid
│   └── InvalidCredential    the credential is invalid
├── Forbidden                the credential lacks a scope
│   ├── BlockedByPolicy      the safety policy rejects the task's content (details.kinds)
│   ├── NotTheAssignee       the approval names another key
│   ├── OwnTask              the key that submitted the task may not decide its approvals
│   └── StorageFull          the tenant's files use all of its storage
├── TooMuch                  a limit is reached for now (details.retry_after, in seconds)
│   ├── RateLimited          the caller's rate limit is used up
│   ├── TooManyTasks         the tenant has too many open tasks
│   ├── TenantLimit          another limit of the tenant is reached (details.setting)
│   └── QueueFull            all tenants together have queued too much work
├── Unavailable              a required server can't be reached
└── StepError                an arm failed to do its step; recorded as the step's result
    ├── InvalidStepInput     the inputs break the arm's contract
    ├── SandboxUnavailable   this machine has no sandbox that is strong enough
    ├── ToolTimeout          a tool exceeded its time limit
    ├── PlanningTimeout      planning exceeded PLANNING_TIMEOUT_SECONDS
    ├── JudgingTimeout       judging exceeded JUDGING_TIMEOUT_SECONDS
    ├── ToolFailed           a tool failed to run
    │   └── ToolReportsError a tool ran and reports an error; it may have acted before
    ├── ToolChanged          an MCP tool is no longer the one that was approved
    ├── ToolServerLost       an MCP server did not start, or ended
    ├── ActionFailed         a function arm's action raised an unexpected exception
    ├── InvalidOutput        an action returned something else than its contract says
    ├── OutcomeUnknown       the arm can't know whether its action took effect; a person decides
    ├── ArmUnavailable, ArmFailed: an HTTP arm gave no result: orchestrator.models.arm_errors
    ├── OutputTooLarge       the output exceeds the limit of a step
    ├── VerificationFailed   a required check failed
    ├── NeedsReplan          the plan does not fit what the step found: another one may
    ├── PermitDenied         the step has no valid permit
    ├── ApprovalRejected     a person rejected the step, or what they approved is not what it would do
    ├── ApprovalExpired      nobody decided in time
    ├── PatchRejected        a diff can't be parsed, or does not apply
    ├── ReplayMiss           a replay has no answer to give again (in model_errors)
    ├── Unplannable          no recipe matches the goal and no model is configured
    ├── BudgetExceeded       the rest of the task's budget is less than the call could cost
    ├── PriceUnknown         the model's price is unknown, and the client set a limit in dollars
    ├── MustWait             not a failure: the call must wait (details.retry_after, in seconds)
    │   ├── BudgetTaken      other calls of the task have reserved the rest of its budget
    │   └── ModelBusy        every model is at its rate limit (in model_errors)
    └── ModelError           a model gave no usable answer: orchestrator.models.model_errors

Stopped, a BaseException: the attempt was stopped, and none of its results may be stored
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
    """The attempt was stopped: its lease is lost, its task has ended, its worker stops, or its time is over.

    Not an Exception, so that code with a fallback for failures (a recipe instead of a model's plan, an unchecked
    criterion) does not catch it. Only the end of an attempt does; see workers.attempt.concerns.
    `counts_against_model` and `may_have_cost` are as in ModelError.
    """

    code: ClassVar[str] = "cancelled"
    counts_against_model: ClassVar[bool] = False
    may_have_cost: ClassVar[bool] = True

    def __init__(
        self, message: str = "The attempt was stopped.", *, details: Mapping[str, Any] | None = None
    ) -> None:
        self.message = message
        self.details = dict(details or {})
        super().__init__(message)


class SettingsError(OctoError):
    """A setting is missing or wrong."""

    code = "settings_error"


class InvalidInput(OctoError):
    """The request is well-formed but invalid."""

    code = "validation_error"

    @classmethod
    def at(cls, field: str, message: str) -> "InvalidInput":
        """Return the error for one field; `field` is a dotted path in the request."""
        return cls(f"{field}: {message}", details={"errors": [{"field": field, "message": message}]})


class InvalidPlan(InvalidInput):
    """The plan breaks a rule."""

    code = "invalid_plan"


class NotFound(OctoError):
    """The resource does not exist."""

    code = "resource_not_found"


class NotCached(OctoError):
    """No cached result answers this task, and only_cached forbids running it."""

    code = "not_cached"


class InvalidOperation(OctoError):
    """The resource's state does not allow this operation."""

    code = "invalid_operation"


class IdempotencyConflict(InvalidOperation):
    """This Idempotency-Key was used with another body; use a new key for a new task."""

    code = "idempotency_conflict"


class AlreadyDecided(InvalidOperation):
    """Another decision came first, or the approval was withdrawn."""

    code = "already_decided"


class TooLate(AlreadyDecided):
    """The time to decide was over."""

    code = "approval_expired"


class Unauthenticated(OctoError):
    """Send a JWT as `Authorization: Bearer <token>`; POST /v1/auth/token issues one for an API key."""

    code = "missing_auth"


class InvalidCredential(Unauthenticated):
    """The credential is invalid."""

    code = "invalid_credential"


class Forbidden(OctoError):
    """The credential lacks a scope."""

    code = "insufficient_permissions"


class BlockedByPolicy(Forbidden):
    """The safety policy rejects this task."""

    code = "blocked_by_policy"


class NotTheAssignee(Forbidden):
    """The approval names another key, which alone may decide it."""

    code = "not_the_assignee"


class OwnTask(Forbidden):
    """This key submitted the task; with APPROVAL_FOUR_EYES=on another key must decide its approvals."""

    code = "own_task"


class StorageFull(Forbidden):
    """The tenant's files use all of its storage; delete some with DELETE /v1/files/{id}."""

    code = "storage_limit_exceeded"


class TooMuch(OctoError):
    """A limit is reached; try again after details.retry_after seconds."""

    code = "too_much"
    retryable = True


class RateLimited(TooMuch):
    """The caller's rate limit is used up."""

    code = "rate_limit_exceeded"


class TooManyTasks(TooMuch):
    """The tenant has reached its limit of open tasks; wait for some to end."""

    code = "too_many_tasks"


class TenantLimit(TooMuch):
    """The tenant has reached a limit."""

    code = "tenant_limit_exceeded"


class QueueFull(TooMuch):
    """More work is queued than the workers can start soon."""

    code = "queue_full"


class Unavailable(OctoError):
    """A required server can't be reached; try again."""

    code = "service_unavailable"
    retryable = True


class StepError(OctoError):
    """The arm failed to do the step.

    Raised by an action that writes and may not run twice, it says that the effect did not happen. Two kinds of classes
    say something else: of one that `leaves_effect_open` a person is asked at once; one that `may_have_acted` fails the
    step, which then runs again only if a person approves it.
    """

    code = "step_failed"
    leaves_effect_open: ClassVar[bool] = False
    may_have_acted: ClassVar[bool] = False


class InvalidStepInput(StepError):
    """The step's inputs break the arm's contract."""

    code = "invalid_input"


class SandboxUnavailable(StepError):
    """This machine has no sandbox that is strong enough."""

    code = "sandbox_unavailable"


class ToolTimeout(StepError):
    """A tool exceeded its time limit."""

    code = "tool_timeout"
    retryable = True
    leaves_effect_open = True


class PlanningTimeout(StepError):
    """The task was not planned within PLANNING_TIMEOUT_SECONDS."""

    code = "planning_timeout"
    retryable = True


class JudgingTimeout(StepError):
    """The results were not judged within JUDGING_TIMEOUT_SECONDS."""

    code = "judging_timeout"
    retryable = True


class ToolFailed(StepError):
    """A tool failed to run."""

    code = "tool_failed"


class ToolReportsError(ToolFailed):
    """The tool ran and reports an error, which does not say whether it acted before."""

    may_have_acted = True


class OutcomeUnknown(StepError):
    """The arm can't know whether its action took effect; the step is not run again until a person decides."""

    code = "outcome_unknown"
    leaves_effect_open = True


class ToolChanged(StepError):
    """The MCP tool is no longer the one that was approved."""

    code = "tool_changed"


class ToolServerLost(StepError):
    """The MCP server did not start, or ended before it answered."""

    code = "tool_server_lost"
    retryable = True


class ActionFailed(StepError):
    """The action raised an unexpected exception."""

    code = "action_failed"
    leaves_effect_open = True


class InvalidOutput(StepError):
    """The action returned something else than its contract says."""

    code = "invalid_output"
    leaves_effect_open = True


class OutputTooLarge(StepError):
    """The step's output exceeds the limit."""

    code = "output_too_large"
    leaves_effect_open = True


class VerificationFailed(StepError):
    """A required check failed."""

    code = "verification_failed"


class NeedsReplan(StepError):
    """The plan does not fit what the step found; another plan may."""

    code = "needs_replan"


class PermitDenied(StepError):
    """The step has no valid permit."""

    code = "permit_denied"


class ApprovalRejected(StepError):
    """A person rejected the step."""

    code = "approval_rejected"


class ApprovalExpired(StepError):
    """Nobody decided in time whether the step may run."""

    code = "approval_expired"


class PatchRejected(StepError):
    """The patch can't be parsed, or does not apply to the files."""

    code = "patch_rejected"


class Unplannable(StepError):
    """No recipe matches this goal and no model is configured."""

    code = "unplannable"


class BudgetExceeded(StepError):
    """The rest of the task's budget is less than this call could cost."""

    code = "budget_exceeded"


class PriceUnknown(StepError):
    """The model's price is unknown, so a limit in dollars can't be enforced."""

    code = "price_unknown"


class MustWait(StepError):
    """The call must wait; try again after details.retry_after seconds. Does not count as a failure."""

    code = "must_wait"
    retryable = True


class BudgetTaken(MustWait):
    """The task's other calls have reserved the rest of its budget until they end."""

    code = "budget_taken"

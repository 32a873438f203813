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
    │   ├── BudgetTaken      the task's other calls hold what is left of its budget
    │   └── ModelBusy        every model is at its rate limit
    └── ModelError           a model gave no answer that can be used (details.provider, details.model)
        ├── NoModel          none is configured
        ├── ModelUnavailable it is away or overloaded
        ├── ModelTimeout     no whole answer before the deadline
        ├── ModelConnectionLost
        ├── ModelRateLimited its provider asks to slow down (details.retry_after)
        ├── ModelAnswerBroken    a cut, empty or unreadable answer
        │   └── ModelNoAnswer    what came back never was a model's answer
        ├── ModelAnswerInvalid   the answer breaks the schema, corrections and all
        ├── ModelAnswerCut   the answer does not fit into the output limit
        ├── ModelRefused     the model declines; no other one is asked
        ├── ModelRequestRejected  the provider finds fault with the request itself
        └── ModelAccountProblem
            ├── ModelUnauthorised    the key does not hold
            ├── ModelMisconfigured   its key, its address or the proxy is wrong
            ├── ModelUnknown     no such model there
            └── ModelQuotaExhausted  the account has no credit left

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


class ModelBusy(MustWait):
    """Every model is at its rate limit."""

    code = "model_busy"


class ModelError(StepError):
    """A model gave no answer that can be used.

    `may_fail_over`: another model may be asked instead. `counts_against_model`: it is a sign that the model
    is down. `may_have_cost`: the provider may bill the call though nothing came of it.
    """

    code = "model_error"
    may_fail_over: ClassVar[bool] = False
    counts_against_model: ClassVar[bool] = False
    may_have_cost: ClassVar[bool] = False


class NoModel(ModelError):
    """No model is configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY (see .env.example)."""

    code = "no_model"


class ModelUnavailable(ModelError):
    """The model is away or overloaded."""

    code = "model_unavailable"
    retryable = True
    may_fail_over = True
    counts_against_model = True


class ModelTimeout(ModelError):
    """The model gave no whole answer before the deadline."""

    code = "model_timeout"
    retryable = True
    may_fail_over = True
    counts_against_model = True
    may_have_cost = True


class ModelConnectionLost(ModelError):
    """The connection to the model broke before its answer was whole."""

    code = "model_connection_lost"
    retryable = True
    may_fail_over = True
    counts_against_model = True
    may_have_cost = True


class ModelRateLimited(ModelError):
    """The model's provider asks to slow down."""

    code = "model_rate_limited"
    retryable = True
    may_fail_over = True


class ModelAnswerBroken(ModelError):
    """The model's answer is cut off, empty or unreadable."""

    code = "model_answer_broken"
    retryable = True
    may_fail_over = True
    counts_against_model = True
    may_have_cost = True


class ModelNoAnswer(ModelAnswerBroken):
    """What came back never was a model's answer: a page, nothing, or a body of another kind; nothing is charged."""

    code = "model_no_answer"
    may_have_cost = False


class ModelAnswerInvalid(ModelError):
    """The model's answer breaks the schema, also after it was told how."""

    code = "model_answer_invalid"


class ModelAnswerCut(ModelError):
    """The model's answer does not fit into the tokens it was given."""

    code = "model_answer_cut"


class ModelRefused(ModelError):
    """The model declines to answer."""

    code = "model_refused"


class ModelRequestRejected(ModelError):
    """The model's provider finds fault with the request."""

    code = "model_request_rejected"


class ModelAccountProblem(ModelError):
    """The account at the model's provider needs its operator; other providers are not concerned."""

    code = "model_account_problem"
    may_fail_over = True


class ModelUnauthorised(ModelAccountProblem):
    """The model's provider does not take the key."""

    code = "model_unauthorised"


class ModelMisconfigured(ModelAccountProblem):
    """The model can't be reached as it is configured: its key, its address or the proxy is wrong."""

    code = "model_misconfigured"


class ModelUnknown(ModelAccountProblem):
    """The provider has no such model: correct LLM_CHAIN or the base URL."""

    code = "model_unknown"


class ModelQuotaExhausted(ModelAccountProblem):
    """The account at the model's provider has no credit left."""

    code = "model_quota_exhausted"

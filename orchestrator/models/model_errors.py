"""The tree of errors of language models, a branch of orchestrator.models.errors.

ModelError               a model gave no usable answer (details.provider, details.model)
├── NoModel              no model is configured
├── ModelUnavailable     the model is down or overloaded
├── ModelTimeout         no complete answer before the deadline
├── ModelConnectionLost  the connection broke before the answer was complete
├── ModelRateLimited     the provider asks to slow down (details.retry_after, in seconds)
├── ModelAnswerBroken    the answer is cut off, empty or unreadable
│   └── ModelNoAnswer    the response is not a model's answer at all
├── ModelAnswerInvalid   the answer breaks the schema, after all corrections
├── ModelAnswerCut       the answer does not fit into the output limit
├── ModelRefused         the model declines to answer; no other model is asked
├── ModelRequestRejected  the provider rejects the request itself
└── ModelAccountProblem  the operator must change something at the provider or in the settings
    ├── ModelUnauthorised    the provider rejects the API key
    ├── ModelMisconfigured   the key, the base URL or the proxy is wrong
    ├── ModelUnknown         the provider has no such model
    └── ModelQuotaExhausted  the account has no credit left

ModelBusy, a MustWait: every model is at its rate limit
ReplayMiss, a StepError: a replay has no answer for a request, or no write to give again
"""

from typing import ClassVar

from orchestrator.models.errors import MustWait, StepError


class ModelBusy(MustWait):
    """Every model is at its rate limit."""

    code = "model_busy"


class ReplayMiss(StepError):
    """A replay asks what was not asked before, so that there is no answer to give again."""

    code = "replay_miss"


class ModelError(StepError):
    """A model gave no usable answer.

    `may_fail_over`: another model may be asked instead. `counts_against_model`: the error suggests that the model is
    down. `may_have_cost`: the provider may charge for the failed call.
    """

    code = "model_error"
    may_fail_over: ClassVar[bool] = False
    counts_against_model: ClassVar[bool] = False
    may_have_cost: ClassVar[bool] = False


class NoModel(ModelError):
    """No model is configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY (see .env.example)."""

    code = "no_model"


class ModelUnavailable(ModelError):
    """The model is down or overloaded."""

    code = "model_unavailable"
    retryable = True
    may_fail_over = True
    counts_against_model = True


class ModelTimeout(ModelError):
    """The model gave no complete answer before the deadline."""

    code = "model_timeout"
    retryable = True
    may_fail_over = True
    counts_against_model = True
    may_have_cost = True


class ModelConnectionLost(ModelError):
    """The connection to the model broke before its answer was complete."""

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
    """The response is not a model's answer: a web page, nothing, or another kind of body. Nothing is charged."""

    code = "model_no_answer"
    may_have_cost = False


class ModelAnswerInvalid(ModelError):
    """The model's answer breaks the schema, even after corrections."""

    code = "model_answer_invalid"


class ModelAnswerCut(ModelError):
    """The model's answer does not fit into the output limit."""

    code = "model_answer_cut"
    may_fail_over = True


class ModelRefused(ModelError):
    """The model declines to answer."""

    code = "model_refused"


class ModelRequestRejected(ModelError):
    """The model's provider rejects the request."""

    code = "model_request_rejected"


class ModelAccountProblem(ModelError):
    """The operator must fix the account at the model's provider; other providers are not affected."""

    code = "model_account_problem"
    may_fail_over = True


class ModelUnauthorised(ModelAccountProblem):
    """The model's provider rejects the API key."""

    code = "model_unauthorised"


class ModelMisconfigured(ModelAccountProblem):
    """The model's configuration is wrong: its API key, its base URL or the proxy."""

    code = "model_misconfigured"


class ModelUnknown(ModelAccountProblem):
    """The provider has no such model: correct LLM_CHAIN or the base URL."""

    code = "model_unknown"


class ModelQuotaExhausted(ModelAccountProblem):
    """The account at the model's provider has no credit left."""

    code = "model_quota_exhausted"

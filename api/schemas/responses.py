"""Declares what we answer: the members that OctoLLM's client libraries parse, and those of our own."""

from marshmallow import EXCLUDE, Schema, fields, validate

from api.schemas.fields import Timestamp
from orchestrator.models.execution_state import Phase, StepState, TaskStatus
from orchestrator.models.task_contract import Priority

_PERCENT = validate.Range(0, 100)
_ARM_STATUSES = ("healthy", "degraded", "unavailable")


class Reply(Schema):
    """An answer: every member that it declares is there; more may come."""

    class Meta:
        unknown = EXCLUDE


def _one_of(*values: str) -> fields.String:
    return fields.String(validate=validate.OneOf(values))


def _task_id() -> fields.String:
    return fields.String(validate=validate.Regexp(r"^task_[a-zA-Z0-9]{16}$"))


def _status() -> fields.String:
    return _one_of(*(status.value for status in TaskStatus))


def _priority() -> fields.String:
    return _one_of(*(priority.value for priority in Priority))


def _phase() -> fields.String:
    return _one_of(*(phase.value for phase in Phase))


class Progress(Reply):
    """How far a task is; `percentage` never falls."""

    current_step = _one_of(*dict.fromkeys(phase.current_step for phase in Phase))
    completed_steps = fields.Integer()
    total_steps = fields.Integer()
    percentage = fields.Integer(validate=_PERCENT)


class Result(Reply):
    """What came of a task; `output` is text, `data` the same as values.

    `coverage` is the share of the required criteria that were checked. `confidence` is how sure it is that the result
    is right: 1 when rules show that every required criterion is met, 0 when it was rejected or nobody measured it.
    """

    output = fields.String()
    coverage = fields.Float(allow_none=True, validate=validate.Range(0, 1))
    confidence = fields.Float(validate=validate.Range(0, 1))
    validation_passed = fields.Boolean()
    data = fields.Raw(allow_none=True)
    artifacts = fields.List(fields.Raw())
    warnings = fields.List(fields.String())
    # Schema has an attribute `partial`
    is_partial = fields.Boolean(attribute="partial", data_key="partial")


class Failure(Reply):
    """Why a task ended without success."""

    type = fields.String()
    code = fields.String()
    message = fields.String()
    details = fields.String(allow_none=True)
    retryable = fields.Boolean()


class CacheReply(Reply):
    """Where a result comes from, or is to come from, when the task does not run: seconds are its age then."""

    layer = _one_of("coalesced", "exact", "alias")
    source_task_id = fields.String()
    age_seconds = fields.Float()


class Metadata(Reply):
    """What a task took; there once it has ended."""

    arms_used = fields.List(fields.String())
    tokens_used = fields.Integer()
    cost_dollars = fields.Float()
    duration_seconds = fields.Float()
    cache_hit = fields.Boolean()
    plan_id = fields.String(allow_none=True)
    repairs = fields.Integer()


class Step(Reply):
    """A step of the plan, as its latest round left it; `reused_from` is the task that did it, if it was another."""

    step_id = fields.String()
    arm_id = fields.String()
    action = fields.String()
    description = fields.String()
    status = _one_of(*(state.value for state in StepState))
    round = fields.Integer()
    attempt = fields.Integer()
    reused_from = fields.String(allow_none=True)
    depends_on = fields.List(fields.String())
    optional = fields.Boolean()
    summary = fields.String(allow_none=True)
    error = fields.Raw(allow_none=True)
    warnings = fields.List(fields.String())
    queued_at = Timestamp(allow_none=True)
    started_at = Timestamp(allow_none=True)
    finished_at = Timestamp(allow_none=True)
    duration_ms = fields.Integer(allow_none=True)


class TaskSummary(Reply):
    """A task in a list."""

    task_id = _task_id()
    status = _status()
    phase = _phase()
    goal = fields.String()
    priority = _priority()
    percentage = fields.Integer(validate=_PERCENT)
    created_at = Timestamp()
    updated_at = Timestamp()
    completed_at = Timestamp(allow_none=True)
    failed_at = Timestamp(allow_none=True)


class TaskPage(Reply):
    """A page of a tenant's tasks, newest first; the next one is asked for with cursor = `next_cursor`."""

    tasks = fields.List(fields.Nested(TaskSummary))
    next_cursor = fields.String(allow_none=True)


class Status(Reply):
    """A task, where it stands and what came of it; `retry_of` is the task that it repeats.

    `message` tells in words what it waits for: arms that no worker serves now, which `waiting_for` names.
    """

    task_id = _task_id()
    status = _status()
    phase = _phase()
    goal = fields.String()
    priority = _priority()
    progress = fields.Nested(Progress)
    waiting_for = fields.List(fields.String())
    message = fields.String(allow_none=True)
    retry_of = fields.String(allow_none=True)
    result = fields.Nested(Result, allow_none=True)
    error = fields.Nested(Failure, allow_none=True)
    metadata = fields.Nested(Metadata, allow_none=True)
    cache = fields.Nested(CacheReply, allow_none=True)
    steps = fields.List(fields.Nested(Step))
    created_at = Timestamp()
    updated_at = Timestamp()
    completed_at = Timestamp(allow_none=True)
    failed_at = Timestamp(allow_none=True)
    processing_time_ms = fields.Integer(allow_none=True)


class DeadStep(Reply):
    """A step that was given up after `kills` workers died of it; `retried_by` is the last retry of its task."""

    task_id = _task_id()
    task_status = _status()
    step_id = fields.String(attribute="name")
    arm_id = fields.String(attribute="arm")
    round = fields.Integer()
    kills = fields.Integer()
    error = fields.Raw()
    failed_at = Timestamp(attribute="finished_at")
    retried_by = fields.String(allow_none=True)
    links = fields.Dict(keys=fields.String(), values=fields.String())


class DeadPage(Reply):
    """A page of steps that were given up, newest first; the next one is asked for with cursor = `next_cursor`."""

    steps = fields.List(fields.Nested(DeadStep))
    next_cursor = fields.String(allow_none=True)


class StoppedStep(Reply):
    """A step that a cancel stopped: `was` is what it was doing."""

    step_id = fields.String(attribute="name")
    arm_id = fields.String(attribute="arm")
    was = fields.String(
        attribute="former_state", validate=validate.OneOf(["running", "queued", "held", "blocked"])
    )
    attempt = fields.Integer()


class Cancelled(Status):
    """A cancelled task, and what that stopped; nothing if it was cancelled before."""

    stopped = fields.List(fields.Nested(StoppedStep))


class Accepted(Reply):
    """The answer to a submission."""

    task_id = _task_id()
    status = _status()
    created_at = Timestamp()
    estimated_completion = Timestamp(allow_none=True)
    message = fields.String()
    cache = fields.Nested(CacheReply, allow_none=True)
    redacted = fields.Dict(keys=fields.String(), values=fields.Integer())
    links = fields.Dict(keys=fields.String(), values=fields.String())


class EventReply(Reply):
    """A numbered fact of a task's life."""

    seq = fields.Integer()
    timestamp = Timestamp(attribute="occurred_at")
    type = fields.String()
    data = fields.Raw(attribute="payload")


class EventPage(Reply):
    """A page of events; the next one is asked for with after = `next_after`."""

    task_id = _task_id()
    status = _status()
    events = fields.List(fields.Nested(EventReply))
    next_after = fields.Integer()


class Ticket(Reply):
    """What opens a task's stream once."""

    ticket = fields.String()
    expires_in = fields.Integer()
    links = fields.Dict(keys=fields.String(), values=fields.String())


class DecisionReply(Reply):
    """One decision that was taken about a task."""

    id = fields.Integer()
    round = fields.Integer()
    timestamp = Timestamp(attribute="decided_at")
    kind = fields.String()
    data = fields.Raw(attribute="payload")


class TracedStep(Step):
    """A step of the plan, with all that it answered."""

    result = fields.Raw(allow_none=True)


class Trace(Reply):
    """What was asked, what each step answered, and a page of the decisions between the two."""

    task_id = _task_id()
    status = _status()
    contract = fields.Dict()
    steps = fields.List(fields.Nested(TracedStep))
    decisions = fields.List(fields.Nested(DecisionReply))
    next_after = fields.Integer()


class FeedbackReply(Reply):
    """What a report took back: `source_task_id`'s result answers no other task; `layer_off`, nor does its layer."""

    task_id = _task_id()
    verdict = fields.String()
    layer = _one_of("exact", "alias")
    source_task_id = fields.String(allow_none=True)
    layer_off = fields.Boolean()


class ArmMetadata(Reply):
    """What is declared and measured about an arm."""

    version = fields.String()
    model = fields.Raw(allow_none=True)
    average_latency_ms = fields.Float(allow_none=True)
    success_rate = fields.Float(allow_none=True)
    max_concurrent_tasks = fields.Integer()
    queue_depth = fields.Integer()
    workers = fields.Integer()
    busy = fields.Integer()


class Arm(Reply):
    """An arm: what it can do, and how it is now."""

    arm_id = fields.String()
    name = fields.String()
    description = fields.String()
    capabilities = fields.List(fields.String())
    cost_tier = fields.Integer(validate=validate.Range(1, 5))
    endpoint = fields.String()
    status = _one_of(*_ARM_STATUSES)
    input_schema = fields.Dict()
    output_schema = fields.Dict()
    metadata = fields.Nested(ArmMetadata)


class ArmList(Reply):
    """All arms."""

    arms = fields.List(fields.Nested(Arm))


class Registered(Reply):
    """An arm as a declaration left it."""

    status = fields.String()
    arm = fields.Nested(Arm)


class Artifact(Reply):
    """A stored file; its id is the SHA-256 of its content."""

    artifact_id = fields.String(validate=validate.Regexp(r"^[0-9a-f]{64}$"))
    sha256 = fields.String()
    filename = fields.String()
    media_type = fields.String()
    size_bytes = fields.Integer()
    created_at = Timestamp()


class DeletedFile(Reply):
    """A file that is no longer stored."""

    artifact_id = fields.String()
    freed_bytes = fields.Integer()


class Token(Reply):
    """A JWT; send it as `Authorization: Bearer`, or as X-API-Key."""

    access_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()
    scopes = fields.List(fields.String())


class Health(Reply):
    """That the process answers."""

    status = _one_of("healthy", "degraded", "unhealthy")
    version = fields.String()
    uptime_seconds = fields.Integer()
    components = fields.Dict(keys=fields.String(), values=fields.String())
    timestamp = fields.String()


class Readiness(Reply):
    """Whether tasks can be done, and what stands in the way."""

    ready = fields.Boolean()
    checks = fields.Dict()
    warnings = fields.List(fields.String())
    version = fields.String()
    timestamp = fields.String()


class ErrorDetail(Reply):
    """A problem's code and words once more, where OctoLLM's TypeScript client reads them."""

    code = fields.String()
    message = fields.String()
    details = fields.Dict()


class Problem(Reply):
    """What went wrong (RFC 9457); `code` is stable, `details` has the faults by field."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    instance = fields.String()
    code = fields.String()
    message = fields.String()
    details = fields.Dict()
    retryable = fields.Boolean()
    retry_after = fields.Integer()
    request_id = fields.String()
    timestamp = fields.String()
    error = fields.Nested(ErrorDetail)

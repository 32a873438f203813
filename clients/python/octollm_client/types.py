"""The API's JSON documents as types. Generated from /openapi.json by `make clients`: do not edit."""

# ruff: noqa: E501

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Accepted(TypedDict):
    """The reply to a submission; `redacted` counts the texts that were replaced, by kind."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    created_at: str
    estimated_completion: str | None
    message: str
    cache: CacheReply | None
    redacted: dict[str, int]
    links: dict[str, str]


class Approval(TypedDict):
    """A question to a person about a step, and the decision once there is one."""

    approval_id: str
    task_id: str
    step_id: str
    round: int
    kind: Literal["approval", "question", "outcome"]
    state: Literal[
        "pending",
        "approved",
        "edited",
        "rejected",
        "answered",
        "run_again",
        "accepted",
        "expired",
        "withdrawn",
    ]
    ask: str
    by: str | None
    allow: list[Literal["approve", "edit", "reject", "answer", "run_again", "accept"]]
    proposal: Proposal
    proposal_hash: str
    answer_schema: dict[str, Any] | None
    requested_at: str
    expires_at: str
    on_expiry: Literal["reject", "approve", "fail"]
    decided_by: str | None
    decided_at: str | None
    via: str | None
    comment: str
    value: Any
    links: dict[str, str]


class ApprovalPage(TypedDict):
    """A page of approvals, in the order of `sort`; request the next page with cursor = `next_cursor`."""

    approvals: list[Approval]
    next_cursor: str | None


class Arm(TypedDict):
    """An arm: its capabilities and its current state."""

    arm_id: str
    name: str
    description: str
    capabilities: list[str]
    cost_tier: int
    endpoint: str
    status: Literal["healthy", "degraded", "unavailable"]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    metadata: ArmMetadata


class ArmList(TypedDict):
    """All arms."""

    arms: list[Arm]


class ArmMetadata(TypedDict):
    """What is declared and measured about an arm."""

    version: str
    model: Any
    average_latency_ms: float | None
    success_rate: float | None
    max_concurrent_tasks: int
    queue_depth: int
    workers: int
    busy: int
    outage: str | None


class ArmMinute(TypedDict):
    """One minute of an arm, which begins `at`; `queued` and `busy` are averages over the minute."""

    at: str
    finished: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    queued: float
    busy: float


class ArmRegistration(TypedDict):
    """A declaration about an arm of this system, or with `url` an HTTP arm (docs/http-arms.md)."""

    arm_id: str
    url: NotRequired[str | None]
    for_all: NotRequired[bool | None]
    version: NotRequired[str | None]
    max_concurrent_tasks: NotRequired[int | None]
    actions: NotRequired[dict[str, Any] | None]
    status: NotRequired[Literal["healthy", "degraded", "unavailable"] | None]
    metadata: NotRequired[dict[str, Any] | None]
    name: NotRequired[str | None]
    description: NotRequired[str | None]
    capabilities: NotRequired[list[str] | None]
    cost_tier: NotRequired[int | None]
    endpoint: NotRequired[str | None]
    input_schema: NotRequired[dict[str, Any] | None]
    output_schema: NotRequired[dict[str, Any] | None]


class ArmRegistrationOptions(TypedDict):
    """What arms.register also takes."""

    url: NotRequired[str | None]
    for_all: NotRequired[bool | None]
    version: NotRequired[str | None]
    max_concurrent_tasks: NotRequired[int | None]
    actions: NotRequired[dict[str, Any] | None]
    status: NotRequired[Literal["healthy", "degraded", "unavailable"] | None]
    metadata: NotRequired[dict[str, Any] | None]
    name: NotRequired[str | None]
    description: NotRequired[str | None]
    capabilities: NotRequired[list[str] | None]
    cost_tier: NotRequired[int | None]
    endpoint: NotRequired[str | None]
    input_schema: NotRequired[dict[str, Any] | None]
    output_schema: NotRequired[dict[str, Any] | None]


class ArmStatistics(TypedDict):
    """An arm now and in the last minutes; figures are of all tenants, but `cost_dollars` only of the caller's."""

    arm_id: str
    name: str
    status: Literal["healthy", "degraded", "unavailable"]
    queued: int
    oldest_queued_seconds: float | None
    workers: int
    busy: int
    slots: int
    is_unserved: bool
    outage: str | None
    ended: int
    success_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    cost_dollars: float | None
    complete_since: str | None
    series: list[ArmMinute]


class ArmStatisticsList(TypedDict):
    """All arms that the caller's tenant may use."""

    minutes: int
    arms: list[ArmStatistics]


class Artifact(TypedDict):
    """A stored file; its id is the SHA-256 of its content."""

    artifact_id: str
    sha256: str
    filename: str
    media_type: str
    size_bytes: int
    created_at: str


class AttemptAccount(TypedDict):
    """One attempt; `waited_ms` is the time in the queue before it, `delay_seconds` how long the next was put off."""

    attempt: int
    worker: str | None
    started_at: str | None
    ended_at: str | None
    waited_ms: int | None
    duration_ms: int | None
    outcome: str | None
    error: Any
    delay_seconds: float | None
    usage: dict[str, Any]
    provenance: dict[str, Any]


class AuditEntry(TypedDict):
    """One action: who did what to which object, from where, and whether it was allowed (`reason`: why not)."""

    occurred_at: str
    action: str
    outcome: Literal["allowed", "denied", "failed"]
    object: str | None
    key_id: str | None
    subject: str | None
    address: str | None
    reason: str | None
    request_id: str | None
    times: int


class AuditPage(TypedDict):
    """A page of entries, newest first; request the next page with cursor = `next_cursor`."""

    entries: list[AuditEntry]
    seen_back_to: str | None
    next_cursor: str | None


class Backfill(TypedDict):
    """The times that start a task, one after the other, or would (`dry_run`)."""

    times: list[str]
    local_times: list[str]
    tz: str
    dry_run: bool


class BackfillOptions(TypedDict):
    """What schedules.backfill also takes."""

    dry_run: NotRequired[bool | None]


BackfillRequest = TypedDict(
    "BackfillRequest",
    {
        "from": "str",
        "to": "str",
        "dry_run": "NotRequired[bool | None]",
    },
)
"""A range of the past, both ends included, of at most 100 times; with `dry_run` nothing starts."""


class Budget(TypedDict):
    """A task's budget: its limits, the sums of all calls, and a page of the calls in the order of reservation."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    limits: BudgetLimits
    totals: BudgetTotals
    entries: list[BudgetEntry]
    next_after: int


class BudgetEntry(TypedDict):
    """A call to a model: reserved `at` before it was sent, charged at `settled_at`."""

    at: str
    settled_at: str | None
    step: str
    step_id: str
    round: int
    attempt: int
    call: int
    purpose: str | None
    model: str | None
    reserved_tokens: int
    reserved_dollars: float | None
    settled_tokens: int | None
    settled_dollars: float | None
    state: Literal["reserved", "settled"]


class BudgetLimits(TypedDict):
    """What all calls of the task may use."""

    max_tokens: int | None
    max_cost_dollars: float | None


class BudgetRequest(TypedDict):
    """What a task may spend; max_cost_usd is another name for max_cost_dollars."""

    max_tokens: NotRequired[int | None]
    max_time_seconds: NotRequired[int | None]
    max_cost_dollars: NotRequired[float | None]
    max_cost_usd: NotRequired[float | None]
    max_retries: NotRequired[int | None]
    max_repairs: NotRequired[int | None]
    max_replans: NotRequired[int | None]


class BudgetTotals(TypedDict):
    """What all calls were charged, and what the open ones reserve; dollars are null if a part is unknown."""

    settled_tokens: int
    settled_dollars: float | None
    reserved_tokens: int
    reserved_dollars: float | None


class CacheReply(TypedDict):
    """Source of a cached or coalesced result; `age_seconds` is set on a hit."""

    layer: Literal["coalesced", "exact", "alias"]
    source_task_id: str
    age_seconds: float


class CacheRequest(TypedDict):
    """How the task may use the cache; `max_age` is the greatest age of a cached result, in seconds."""

    mode: NotRequired[Literal["default", "bypass", "refresh", "only_cached", "no_store"] | None]
    max_age: NotRequired[int | None]


class CancelRequest(TypedDict):
    """Why the task is cancelled."""

    reason: NotRequired[str | None]


class Cancelled(TypedDict):
    """A cancelled task and the steps that were stopped; none if it was cancelled before."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    event_seq: int
    phase: Literal["accepted", "planning", "executing", "judging", "repairing", "finishing", "done"]
    goal: str
    priority: Literal["low", "medium", "high", "critical"]
    progress: Progress
    waiting_for: list[str]
    approvals: list[OpenApproval]
    message: str | None
    retry_of: str | None
    trace_id: str | None
    schedule_id: str | None
    scheduled_at: str | None
    result: Result | None
    error: Failure | None
    metadata: Metadata | None
    cache: CacheReply | None
    steps: list[Step]
    created_at: str
    updated_at: str
    completed_at: str | None
    failed_at: str | None
    processing_time_ms: int | None
    stopped: list[StoppedStep]


class Change(TypedDict):
    """A place (a JSON pointer) where two values differ; each side is its JSON text, cut; null: it is not there."""

    path: str
    left: str | None
    right: str | None


class Checked(TypedDict):
    """What is wrong with a contract, at most 100 faults; else the steps that would run."""

    faults: list[Fault]
    planned_by: Literal["client", "recipe", "model"]
    steps: list[RoutedStep]
    reserved_tokens: int
    budget: EffectiveBudget | None
    limits: Limits


class ChoiceOptions(TypedDict):
    """What approvals.decide_by_link also takes."""

    inputs: NotRequired[dict[str, Any] | None]
    answer: NotRequired[Any]
    comment: NotRequired[str | None]


class ChoiceRequest(TypedDict):
    """What is decided: `inputs` come with edit, `answer` with answer, and with accept as the output of the step."""

    decision: Literal["approve", "edit", "reject", "answer", "run_again", "accept"]
    inputs: NotRequired[dict[str, Any] | None]
    answer: NotRequired[Any]
    comment: NotRequired[str | None]


class ComparedSide(TypedDict):
    """One of the two rounds; cost and tokens are those of the round, `decision` is its verdict."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    goal: str
    round: int
    mode: str
    decision: str | None
    coverage: float | None
    tokens_used: int
    cost_dollars: float | None
    milliseconds: int


class ComparedStep(TypedDict):
    """A step in one of the rounds; `task_id` and `round` are those of the row that holds its result."""

    task_id: str
    round: int
    arm_id: str
    action: str
    status: str
    error_code: str | None
    summary: str | None
    input_sha256: str
    output_sha256: str | None
    output_bytes: int | None
    duration_ms: int | None


class Completed(TypedDict):
    """A completed task, which has a result."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    event_seq: int
    phase: Literal["accepted", "planning", "executing", "judging", "repairing", "finishing", "done"]
    goal: str
    priority: Literal["low", "medium", "high", "critical"]
    progress: Progress
    waiting_for: list[str]
    approvals: list[OpenApproval]
    message: str | None
    retry_of: str | None
    trace_id: str | None
    schedule_id: str | None
    scheduled_at: str | None
    result: Result
    error: Failure | None
    metadata: Metadata | None
    cache: CacheReply | None
    steps: list[Step]
    created_at: str
    updated_at: str
    completed_at: str | None
    failed_at: str | None
    processing_time_ms: int | None


class DeadPage(TypedDict):
    """A page of dead letters, newest first; request the next page with cursor = `next_cursor`."""

    steps: list[DeadStep]
    next_cursor: str | None


class DeadStep(TypedDict):
    """A step that was given up after it killed `kills` workers; `retried_by` is the latest retry of its task."""

    task_id: str
    task_status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    step_id: str
    arm_id: str
    round: int
    kills: int
    error: Any
    failed_at: str
    retried_by: str | None
    links: dict[str, str]


class DecisionOptions(TypedDict):
    """What approvals.decide also takes."""

    inputs: NotRequired[dict[str, Any] | None]
    answer: NotRequired[Any]
    comment: NotRequired[str | None]
    via: NotRequired[Literal["api", "cli", "console"] | None]


class DecisionReply(TypedDict):
    """One decision about a task."""

    id: int
    round: int
    timestamp: str
    kind: str
    data: Any


class DecisionRequest(TypedDict):
    """A decision about exactly the proposal with this hash; `via` says by which program."""

    decision: Literal["approve", "edit", "reject", "answer", "run_again", "accept"]
    inputs: NotRequired[dict[str, Any] | None]
    answer: NotRequired[Any]
    comment: NotRequired[str | None]
    proposal_hash: str
    via: NotRequired[Literal["api", "cli", "console"] | None]


class DeletedFile(TypedDict):
    """A file that was deleted."""

    artifact_id: str
    freed_bytes: int


class Difference(TypedDict):
    """How two rounds differ; `steps` are in the order of their dependencies."""

    left: ComparedSide
    right: ComparedSide
    contract: list[Change]
    plan: PlanDifference
    steps: list[StepDifference]
    first_divergence: str | None
    changes: list[Change]
    findings: list[FindingDifference]
    set: Any


class EffectiveBudget(TypedDict):
    """The budget that the task would have, with the server's limits where the contract has none."""

    max_tokens: int
    max_time_seconds: int
    max_cost_dollars: float
    max_retries: int
    max_repairs: int
    max_replans: int


class ErrorDetail(TypedDict):
    """The problem's code and message again, where OctoLLM's TypeScript client reads them."""

    code: str
    message: str
    details: dict[str, Any]


class Estimate(TypedDict):
    """What something used before; null: not known."""

    estimated_tokens: int | None
    estimated_cost_dollars: float | None


class Event(TypedDict):
    """An event of a task; only a transient one has neither number nor time."""

    seq: NotRequired[int]
    timestamp: NotRequired[str]
    type: str
    data: Any


class EventPage(TypedDict):
    """A page of events; request the next page with after = `next_after`."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    events: list[EventReply]
    next_after: int


class EventReply(TypedDict):
    """One numbered event of a task."""

    seq: int
    timestamp: str
    type: str
    data: Any


class Failure(TypedDict):
    """Why a task failed or was cancelled."""

    type: str
    code: str
    message: str
    details: str | None
    retryable: bool


class Fault(TypedDict):
    """What is wrong: `path` is the JSON pointer, in the body, of the deepest place that exists."""

    path: str
    message: str


class FeedbackOptions(TypedDict):
    """What tasks.feedback also takes."""

    comment: NotRequired[str | None]


class FeedbackReply(TypedDict):
    """The effect of a report: `source_task_id`'s result is no longer reused; `layer_off`: its layer was disabled."""

    task_id: str
    verdict: str
    layer: Literal["exact", "alias"]
    source_task_id: str | None
    layer_off: bool


class FeedbackRequest(TypedDict):
    """A client's verdict on a result."""

    verdict: Literal["wrong_hit"]
    comment: NotRequired[str | None]


class FindingDifference(TypedDict):
    """A criterion that was not judged alike; null: that verdict does not have it."""

    criterion: str
    left: Any
    right: Any


class Fork(TypedDict):
    """What is changed; all else is as in the task that is repeated."""

    inputs: NotRequired[dict[str, Any] | None]
    model: NotRequired[str | None]
    prompt: NotRequired[dict[str, str | None] | None]
    criteria: NotRequired[list[str | dict[str, Any]] | None]


class Health(TypedDict):
    """The process responds."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    uptime_seconds: int
    components: dict[str, str]
    timestamp: str


class Heartbeat(TypedDict):
    """The new end of a registered arm's life."""

    arm_id: str
    expires_at: str
    heartbeat_seconds: float


InputReference = TypedDict(
    "InputReference",
    {
        "path": "str",
        "step_id": "str",
        "pointer": "str",
        "from": "StepPlace | None",
    },
)
"""A place of the inputs (a JSON pointer) that takes what `pointer` names in a step's output; `from`: that row."""


class Item(TypedDict):
    """An item of a step with for_each; a large `item` is the beginning of its JSON text."""

    step_id: str
    index: int
    item: Any
    status: str
    attempt: int
    summary: str | None
    error: Any
    reused_from: str | None
    started_at: str | None
    finished_at: str | None


class ItemPage(TypedDict):
    """The items of a step by state, and a page of them; request the next with after = `next_after`."""

    counts: dict[str, int]
    items: list[Item]
    next_after: int | None


class ItemsToRun(TypedDict):
    """How many items of a step with for_each are reused, and how many run."""

    reused: int
    runs: int


class Key(TypedDict):
    """An API key without its secret. `is_own`: the caller's token was made with it."""

    key_id: str
    name: str
    environment: str
    scopes: list[str]
    state: Literal["live", "expired", "revoked"]
    is_own: bool
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class KeyOptions(TypedDict):
    """What keys.create also takes."""

    name: NotRequired[str | None]
    environment: NotRequired[str | None]
    expires_days: NotRequired[int | None]


class KeyPage(TypedDict):
    """A page of the tenant's keys, newest first; request the next page with cursor = `next_cursor`."""

    keys: list[Key]
    next_cursor: str | None


class KeyRequest(TypedDict):
    """A new key: its name for people, its scopes (or `all`), and after how many days it ends (0: never)."""

    name: NotRequired[str | None]
    scopes: list[
        Literal[
            "all",
            "task:submit",
            "task:read",
            "task:cancel",
            "task:critical",
            "task:approve",
            "arm:list",
            "arm:register",
            "arm:admin",
            "admin",
        ]
    ]
    environment: NotRequired[str | None]
    expires_days: NotRequired[int | None]


class LeftOut(TypedDict):
    """A file in RECIPES_PATH that holds no usable recipe; `recipe` is its name if the file has one."""

    file: str
    recipe: str
    reason: str


class Limits(TypedDict):
    """What this server accepts: bytes of a body and of a file, and counts."""

    body_bytes: int
    file_bytes: int
    attachments: int
    criteria: int


Link = TypedDict(
    "Link",
    {
        "approval_id": "str",
        "for": "str",
        "expires_at": "str",
        "url": "str",
    },
)
"""A link that shows one proposal and decides it once, without a token; `url` is absolute if PUBLIC_URL is set."""


class LinkOptions(TypedDict):
    """What approvals.issue_link also takes."""

    expires_in: NotRequired[int | None]


LinkRequest = TypedDict(
    "LinkRequest",
    {
        "for": "str",
        "expires_in": "NotRequired[int | None]",
    },
)
"""For whom a link is, which the decision records, and for how many seconds it works."""


LinkedApproval = TypedDict(
    "LinkedApproval",
    {
        "approval_id": "str",
        "task_id": "str",
        "step_id": "str",
        "round": "int",
        "kind": "Literal['approval', 'question', 'outcome']",
        "state": "Literal['pending', 'approved', 'edited', 'rejected', 'answered', 'run_again', 'accepted', 'expired', 'withdrawn']",
        "ask": "str",
        "by": "str | None",
        "allow": "list[Literal['approve', 'edit', 'reject', 'answer', 'run_again', 'accept']]",
        "proposal": "Proposal",
        "proposal_hash": "str",
        "answer_schema": "dict[str, Any] | None",
        "requested_at": "str",
        "expires_at": "str",
        "on_expiry": "Literal['reject', 'approve', 'fail']",
        "decided_by": "str | None",
        "decided_at": "str | None",
        "via": "str | None",
        "comment": "str",
        "value": "Any",
        "links": "dict[str, str]",
        "for": "str",
        "link_expires_at": "str",
    },
)
"""An approval as its link shows it, and for whom and until when the link works."""


class LogLine(TypedDict):
    """One line of a step's log."""

    timestamp: str | None
    source: Literal["event", "decision", "model", "stdout", "stderr"]
    attempt: int | None
    text: str


class Metadata(TypedDict):
    """What a task used; present once it has ended."""

    arms_used: list[str]
    tokens_used: int
    cost_dollars: float | None
    duration_seconds: float
    cache_hit: bool
    plan_id: str | None
    repairs: int
    replans: int


class Model(TypedDict):
    """A model as OpenAI lists them: octollm plans by itself, octollm/<recipe> by a recipe."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class NewKey(TypedDict):
    """A new API key; `key` is its text, which is not stored and can't be shown again."""

    key_id: str
    name: str
    environment: str
    scopes: list[str]
    state: Literal["live", "expired", "revoked"]
    is_own: bool
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    key: str


class OpenApproval(TypedDict):
    """What a person is asked about a step, by whom it should be decided, and until when."""

    approval_id: str
    step_id: str
    kind: Literal["approval", "question", "outcome"]
    ask: str
    by: str | None
    expires_at: str


class Parameter(TypedDict):
    """A value that a recipe takes; `schema` is its JSON Schema."""

    name: str
    schema: dict[str, Any]
    description: str
    required: bool
    default: Any


class PlanDifference(TypedDict):
    """The steps that only the right plan has, only the left one, and by step the members that differ."""

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]


class Problem(TypedDict):
    """An error (RFC 9457); `code` is stable, `details` lists the faults by field."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    message: str
    details: dict[str, Any]
    retryable: bool
    retry_after: int
    request_id: str
    timestamp: str
    error: ErrorDetail


class Progress(TypedDict):
    """How far a task is; `percentage` never decreases."""

    current_step: Literal["preprocessing", "planning", "execution", "validation", "synthesis"]
    completed_steps: int
    total_steps: int
    percentage: int


class PromptUsed(TypedDict):
    """A prompt; `sha256` is that of its text, null if this server has another version of it."""

    name: str
    version: str | None
    sha256: str | None


class Proposal(TypedDict):
    """What is about to run: an arm's action and its inputs; `effect` is what is known if it was begun and lost."""

    arm: str
    action: str
    inputs: dict[str, Any]
    effect: dict[str, Any] | None


class QuestionAsked(TypedDict):
    """A question to models; `id` is that of the decision in the trace, `calls` are the requests that were sent."""

    id: int
    asked_at: str
    attempt: int | None
    prompt: PromptUsed
    work: str | None
    provider: str | None
    model: str | None
    fake: bool
    finish: str | None
    form: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_dollars: str | None
    error: str | None
    failover: bool
    corrections: int
    calls: list[Any]


class Readiness(TypedDict):
    """Whether tasks can run, and what prevents it."""

    ready: bool
    checks: dict[str, Any]
    warnings: list[str]
    version: str
    timestamp: str


class Recipe(TypedDict):
    """A recipe: what it does, an example of a goal that it fits, what has to be attached, and its parameters."""

    recipe: str
    version: str
    description: str
    say: str
    needs: str
    origin: str
    parameters: list[Parameter]


class RecipeList(TypedDict):
    """All recipes of this server, and the files of its operator that can't be used."""

    recipes: list[Recipe]
    left_out: list[LeftOut]


class Registered(TypedDict):
    """An arm after a declaration or a registration; a registered one ends at `expires_at` without a heartbeat."""

    status: Literal["registered", "updated"]
    arm: Arm
    expires_at: str | None
    heartbeat_seconds: float | None
    secret: str | None


class ResponseError(TypedDict):
    """Why a response failed: OpenAI's nearest code, and our code and message."""

    code: str
    message: str


class ResponseObject(TypedDict):
    """A task as OpenAI's response object; `metadata` has, besides the caller's, members that begin with octollm_."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
    background: bool
    error: ResponseError | None
    incomplete_details: dict[str, Any] | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: str | None
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Literal["auto"]
    tools: list[dict[str, Any]]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: dict[str, Any] | None
    metadata: dict[str, str]


class ResponseRequest(TypedDict):
    """A request for a response, in OpenAI's shape; `octollm` has members of POST /v1/tasks that OpenAI has none for."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: NotRequired[str | None]
    background: NotRequired[bool | None]
    stream: NotRequired[bool | None]
    metadata: NotRequired[dict[str, Any] | None]
    max_output_tokens: NotRequired[int | None]
    text: NotRequired[dict[str, Any] | None]
    octollm: NotRequired[dict[str, Any] | None]


class Result(TypedDict):
    """The result of a task: the answer, `output` as text and `data` as JSON values; `summary` is what each step did."""

    output: str
    summary: str
    answered_by: Literal["plan", "step", "model", "summary"]
    coverage: float | None
    confidence: float
    validation_passed: bool
    data: Any
    artifacts: list[Any]
    warnings: list[str]
    partial: bool


RetryOptions = TypedDict(
    "RetryOptions",
    {
        "from_step": "NotRequired[str | None]",
        "from": "NotRequired[str | None]",
        "set": "NotRequired[Fork | None]",
        "replay": "NotRequired[bool | None]",
        "live_on_miss": "NotRequired[bool | None]",
    },
)
"""What tasks.retry also takes."""


class RetryPreview(TypedDict):
    """What a retry would do; nothing was written."""

    is_planned: bool
    reused: list[ReusedStep]
    runs: list[StepToRun]
    judge: Estimate
    estimated_tokens: int | None
    estimated_cost_dollars: float | None


RetryRequest = TypedDict(
    "RetryRequest",
    {
        "dry_run": "NotRequired[bool | None]",
        "from_step": "NotRequired[str | None]",
        "from": "NotRequired[str | None]",
        "set": "NotRequired[Fork | None]",
        "replay": "NotRequired[bool | None]",
        "live_on_miss": "NotRequired[bool | None]",
    },
)
"""The step from which a task runs again, including finished steps, and what is changed in `set`."""


class ReusedStep(TypedDict):
    """A step whose result is kept; `task_id` is the task that did the work."""

    step_id: str
    arm_id: str
    task_id: str


class RotationRequest(TypedDict):
    """For how many hours the old key works beside its successor."""

    overlap_hours: NotRequired[int | None]


class RoutedStep(TypedDict):
    """A step of the plan, and the arm and action that would do it now; `reason` says why, or what it would wait for."""

    id: str
    description: str
    arm: str
    action: str
    reason: str
    depends_on: list[str]
    estimate: dict[str, float]
    needs_approval: bool
    for_each: bool


class Schedule(TypedDict):
    """A schedule: its contract, its times, and what it does next."""

    schedule_id: str
    name: str
    state: Literal["active", "paused", "ended"]
    cron: str | None
    tz: str | None
    every_seconds: int | None
    jitter_seconds: int
    starts_at: str | None
    ends_at: str | None
    overlap: Literal["skip", "queue_one", "cancel_other", "allow"]
    catchup_window_seconds: int
    pause_after_failures: int | None
    next_at: str | None
    due_at: str | None
    waiting: int
    paused_at: str | None
    paused_reason: str | None
    key_id: str
    created_at: str
    updated_at: str
    contract: dict[str, Any]


class ScheduleChange(TypedDict):
    """The members of a schedule to replace. `cron` (with `tz`) or `every_seconds` replaces the other."""

    name: NotRequired[str | None]
    contract: NotRequired[TaskRequest | None]
    cron: NotRequired[str | None]
    tz: NotRequired[str | None]
    every_seconds: NotRequired[int | None]
    jitter_seconds: NotRequired[int | None]
    starts_at: NotRequired[str | None]
    ends_at: NotRequired[str | None]
    overlap: NotRequired[Literal["skip", "queue_one", "cancel_other", "allow"] | None]
    catchup_window_seconds: NotRequired[int | None]
    pause_after_failures: NotRequired[int | None]


class ScheduleEvent(TypedDict):
    """Something that happened to a schedule."""

    id: int
    timestamp: str
    type: str
    kind: Literal["scheduled", "trigger", "backfill"] | None
    scheduled_at: str | None
    task_id: str | None
    task_status: Literal["queued", "processing", "completed", "failed", "cancelled"] | None
    reason: str | None
    data: Any


class ScheduleEventPage(TypedDict):
    """A page of a schedule's events, newest first; request the next page with before = `next_before`."""

    events: list[ScheduleEvent]
    next_before: int | None


class ScheduleOptions(TypedDict):
    """What schedules.create also takes."""

    cron: NotRequired[str | None]
    tz: NotRequired[str | None]
    every_seconds: NotRequired[int | None]
    jitter_seconds: NotRequired[int | None]
    starts_at: NotRequired[str | None]
    ends_at: NotRequired[str | None]
    overlap: NotRequired[Literal["skip", "queue_one", "cancel_other", "allow"] | None]
    catchup_window_seconds: NotRequired[int | None]
    pause_after_failures: NotRequired[int | None]
    paused: NotRequired[bool | None]


class SchedulePage(TypedDict):
    """A page of the tenant's schedules, newest first; request the next page with cursor = `next_cursor`."""

    schedules: list[Schedule]
    next_cursor: str | None


class ScheduleRequest(TypedDict):
    """A new schedule: a name, the contract of its tasks (the body of POST /v1/tasks), and when they start."""

    name: str
    contract: TaskRequest
    cron: NotRequired[str | None]
    tz: NotRequired[str | None]
    every_seconds: NotRequired[int | None]
    jitter_seconds: NotRequired[int | None]
    starts_at: NotRequired[str | None]
    ends_at: NotRequired[str | None]
    overlap: NotRequired[Literal["skip", "queue_one", "cancel_other", "allow"] | None]
    catchup_window_seconds: NotRequired[int | None]
    pause_after_failures: NotRequired[int | None]
    paused: NotRequired[bool | None]


class Seen(TypedDict):
    """How much of the history this reply is about: the newest `tasks` of the list, back to the time `back_to`."""

    tasks: int
    back_to: str


class Sentence(TypedDict):
    """What a step waits for, or the task itself, its plan or its verdict if `step_id` is null."""

    step_id: str | None
    kind: Literal[
        "task",
        "dependency",
        "worker",
        "outage",
        "slot",
        "model_limit",
        "budget",
        "approval",
        "retry",
        "running",
        "lease",
        "planner",
        "judge",
    ]
    text: str
    until: str | None
    by: str | None
    arm: str | None
    approval_id: str | None


class Session(TypedDict):
    """Who is signed in, and until when."""

    tenant: str
    key_id: str
    scopes: list[str]
    expires_at: str


class Shown(TypedDict):
    """A JSON value; of one that is too large, `value` is null and `preview` is the beginning of its JSON text."""

    value: Any
    size_bytes: int
    preview: str | None
    artifact_id: str | None
    href: str | None


class SignIn(TypedDict):
    """An API key, or the code of a link that `octollm up` prints."""

    api_key: NotRequired[str | None]
    code: NotRequired[str | None]


class Status(TypedDict):
    """A task: its progress, its result, and its steps; `retry_of` is the task that it repeats."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    event_seq: int
    phase: Literal["accepted", "planning", "executing", "judging", "repairing", "finishing", "done"]
    goal: str
    priority: Literal["low", "medium", "high", "critical"]
    progress: Progress
    waiting_for: list[str]
    approvals: list[OpenApproval]
    message: str | None
    retry_of: str | None
    trace_id: str | None
    schedule_id: str | None
    scheduled_at: str | None
    result: Result | None
    error: Failure | None
    metadata: Metadata | None
    cache: CacheReply | None
    steps: list[Step]
    created_at: str
    updated_at: str
    completed_at: str | None
    failed_at: str | None
    processing_time_ms: int | None


class StatusCount(TypedDict):
    """How many tasks there are; `more` if further ones were not looked at."""

    count: int
    more: bool


class Step(TypedDict):
    """A step of the plan, in its latest round; `reused_from` is the earlier task whose result it reuses."""

    step_id: str
    arm_id: str
    action: str
    description: str
    status: Literal[
        "blocked", "held", "waiting", "queued", "running", "done", "failed", "skipped", "cancelled"
    ]
    round: int
    attempt: int
    reused_from: str | None
    depends_on: list[str]
    optional: bool
    items: dict[str, int] | None
    summary: str | None
    error: Any
    warnings: list[str]
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    duration_ms: int | None


class StepApproval(TypedDict):
    """What a person was asked about the step, and decided."""

    approval_id: str
    kind: str
    state: str
    ask: str
    by: str | None
    decided_by: str | None
    decided_at: str | None
    comment: str
    expires_at: str


class StepDetails(TypedDict):
    """One step of a task in one round: inputs, attempts, output, calls to models, decisions and a log."""

    task_id: str
    step_id: str
    row_id: str
    kind: Literal["plan", "step", "judge"]
    part: str | None
    round: int
    rounds: list[int]
    arm_id: str
    action: str | None
    description: str
    status: Literal[
        "blocked", "held", "waiting", "queued", "running", "done", "failed", "skipped", "cancelled"
    ]
    attempt: int
    worker: str | None
    depends_on: list[str]
    optional: bool
    feedback: str | None
    when: Any
    for_each: Any
    acceptance_criteria: list[Any]
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    reused_from: StepPlace | None
    inputs: Shown
    references: list[InputReference]
    resolved: Shown | None
    unresolved: str | None
    output: Shown | None
    error: Any
    warnings: list[str]
    evidence: list[Any]
    usage: dict[str, Any]
    provenance: dict[str, Any]
    files: list[StepFile]
    attempts: list[AttemptAccount]
    model_calls: list[QuestionAsked]
    approval: StepApproval | None
    decisions: list[DecisionReply]
    log: list[LogLine]
    items: ItemPage | None
    is_complete: bool
    links: dict[str, str]


class StepDifference(TypedDict):
    """A step, and what differs of it first: it is absent, its inputs or its arm, how it ended, what it put out."""

    step_id: str
    difference: Literal["same", "inputs", "output", "status", "absent"]
    same_answers: bool | None
    left: ComparedStep | None
    right: ComparedStep | None


class StepFile(TypedDict):
    """A file that the output names."""

    name: str
    artifact_id: str
    media_type: str
    size_bytes: int
    href: str


class StepPlace(TypedDict):
    """A step of a task in one round."""

    task_id: str
    step_id: str
    round: int


class StepToRun(TypedDict):
    """A step that runs again, and why; `asks`: a person is asked first."""

    step_id: str
    arm_id: str
    action: str
    reason: Literal[
        "from_step",
        "inputs",
        "prompt",
        "model",
        "failed",
        "failed_items",
        "skipped",
        "not_done",
        "depends_on",
    ]
    asks: bool
    items: ItemsToRun | None
    estimated_tokens: int | None
    estimated_cost_dollars: float | None


class StoppedStep(TypedDict):
    """A step that the cancellation stopped; `was` is its state before."""

    step_id: str
    arm_id: str
    was: Literal["running", "queued", "waiting", "held", "blocked"]
    attempt: int


class TaskOptions(TypedDict):
    """What tasks.submit also takes."""

    constraints: NotRequired[list[str] | dict[str, Any] | None]
    acceptance_criteria: NotRequired[list[str | dict[str, Any]] | None]
    context: NotRequired[dict[str, Any] | str | None]
    attachments: NotRequired[list[str] | None]
    budget: NotRequired[BudgetRequest | None]
    priority: NotRequired[Literal["low", "medium", "high", "critical"] | None]
    metadata: NotRequired[dict[str, Any] | None]
    deadline: NotRequired[str | None]
    output_schema: NotRequired[dict[str, Any] | None]
    plan: NotRequired[dict[str, Any] | list[dict[str, Any]] | None]
    recipe: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    callback_url: NotRequired[str | None]
    cache: NotRequired[CacheRequest | None]
    required_capabilities: NotRequired[list[str] | None]
    assigned_arm: NotRequired[str | None]
    effects: NotRequired[Literal["none", "read", "write"] | None]
    parent_task_id: NotRequired[str | None]
    api_version: NotRequired[str | None]
    schema_version: NotRequired[str | None]
    task_id: NotRequired[str | None]


class TaskPage(TypedDict):
    """A page of the tenant's tasks; request the next page with cursor = `next_cursor`."""

    tasks: list[TaskSummary]
    counts: dict[str, StatusCount] | None
    seen: Seen | None
    next_cursor: str | None


class TaskRequest(TypedDict):
    """A task contract as clients write it, in either of OctoLLM's dialects."""

    goal: str
    constraints: NotRequired[list[str] | dict[str, Any] | None]
    acceptance_criteria: NotRequired[list[str | dict[str, Any]] | None]
    context: NotRequired[dict[str, Any] | str | None]
    attachments: NotRequired[list[str] | None]
    budget: NotRequired[BudgetRequest | None]
    priority: NotRequired[Literal["low", "medium", "high", "critical"] | None]
    metadata: NotRequired[dict[str, Any] | None]
    deadline: NotRequired[str | None]
    output_schema: NotRequired[dict[str, Any] | None]
    plan: NotRequired[dict[str, Any] | list[dict[str, Any]] | None]
    recipe: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    callback_url: NotRequired[str | None]
    cache: NotRequired[CacheRequest | None]
    required_capabilities: NotRequired[list[str] | None]
    assigned_arm: NotRequired[str | None]
    effects: NotRequired[Literal["none", "read", "write"] | None]
    parent_task_id: NotRequired[str | None]
    api_version: NotRequired[str | None]
    schema_version: NotRequired[str | None]
    task_id: NotRequired[str | None]


class TaskSummary(TypedDict):
    """A task in a list; `waiting` is the number of its pending approvals, a cost of null is unknown."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    phase: Literal["accepted", "planning", "executing", "judging", "repairing", "finishing", "done"]
    goal: str
    priority: Literal["low", "medium", "high", "critical"]
    percentage: int
    completed_steps: int
    total_steps: int
    waiting: int
    tokens_used: int
    cost_dollars: float | None
    created_at: str
    updated_at: str
    completed_at: str | None
    failed_at: str | None
    schedule_id: str | None
    scheduled_at: str | None
    processing_time_ms: int | None


class Ticket(TypedDict):
    """A ticket that opens a task's stream once."""

    ticket: str
    expires_in: int
    links: dict[str, str]


class Times(TypedDict):
    """Times in UTC, and the same ones as `tz` writes them."""

    times: list[str]
    local_times: list[str]
    tz: str


class Token(TypedDict):
    """A JWT; send it as `Authorization: Bearer`, or as X-API-Key."""

    access_token: str
    token_type: str
    expires_in: int
    scopes: list[str]


class Trace(TypedDict):
    """A task's contract, each step's result, and a page of the decisions in between."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    contract: dict[str, Any]
    steps: list[TracedStep]
    decisions: list[DecisionReply]
    next_after: int


class TracedStep(TypedDict):
    """A step of the plan with its complete result."""

    step_id: str
    arm_id: str
    action: str
    description: str
    status: Literal[
        "blocked", "held", "waiting", "queued", "running", "done", "failed", "skipped", "cancelled"
    ]
    round: int
    attempt: int
    reused_from: str | None
    depends_on: list[str]
    optional: bool
    items: dict[str, int] | None
    summary: str | None
    error: Any
    warnings: list[str]
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    duration_ms: int | None
    result: Any


class Waiting(TypedDict):
    """What a task waits for: first the task, then each open step; none when it has ended."""

    task_id: str
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    sentences: list[Sentence]
    left_out: int


class Withdrawn(TypedDict):
    """An arm that was taken out of use."""

    arm_id: str
    status: Literal["deleted"]

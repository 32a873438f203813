"""Owns the metrics that are counted where something happens, and the one text that /metrics answers with.

All processes of a host share a directory (see multiprocess.share): any of them can answer for all.
"""

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from orchestrator.llm.completion import CallRecord
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.task_contract import Priority
from orchestrator.models.verdict import Decision
from orchestrator.observability.multiprocess import share

IS_SHARED = share()

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TASKS = Counter("octollm_tasks", "Tasks that ended.", ["status", "priority"])
_TASK_SECONDS = Histogram(
    "octollm_task_duration_seconds",
    "From a task's submission to its end.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
_ARM_INVOCATIONS = Counter("octollm_arm_invocations", "Attempts at steps.", ["arm", "outcome"])
_ARM_SECONDS = Histogram(
    "octollm_arm_duration_seconds",
    "From the claim of a step to the end of the attempt.",
    ["arm"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
_ROUTING_SECONDS = Histogram(
    "octollm_routing_seconds",
    "From a plan in hand to its root steps published.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5),
)
_VERDICTS = Counter("octollm_verdicts", "Rounds judged.", ["decision"])
_REPAIRS = Counter("octollm_repairs", "Repair rounds started.")
_LEASES_EXPIRED = Counter("octollm_leases_expired", "Leases that ran out and were taken back.")
_SCREENED = Counter(
    "octollm_screened", "Tasks in which the door found something unsafe.", ["kind", "outcome"]
)
_CACHE_LOOKUPS = Counter(
    "octollm_cache_lookups",
    "Submissions, by what the cache said: hit, coalesced, miss, refresh, bypass; layer of what it had. In the workers "
    "hit or miss of the layers alias, plan and step; the last two serve no results.",
    ["outcome", "layer"],
)
_CACHE_WRONG_HITS = Counter("octollm_cache_wrong_hits", "Hits that clients reported as wrong.", ["layer"])
_PAIRS_JUDGED = Counter(
    "octollm_cache_judge_calls",
    "Calls that asked a model whether two tasks are the same: same, different, failed.",
    ["verdict"],
)
_SWEPT = Counter("octollm_swept", "Things that the sweeper did, healing or not.", ["kind"])
_THREAD_FAILURES = Counter(
    "octollm_thread_failures", "Failures of our own threads, each of which then goes on.", ["thread"]
)
_MODEL_REQUESTS = Counter(
    "octollm_llm_requests", "Calls to models, and calls not made.", ["provider", "model", "outcome"]
)
_MODEL_TOKENS = Counter(
    "octollm_llm_tokens", "Tokens that models were sent and made.", ["provider", "model", "kind"]
)
_MODEL_DOLLARS = Counter(
    "octollm_llm_cost_dollars", "US dollars spent on models, as far as known.", ["provider", "model"]
)
_MODEL_SECONDS = Histogram(
    "octollm_llm_seconds",
    "From a call to a model to its whole answer.",
    ["provider", "model"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120),
)
_MODEL_BREAKER = Gauge(
    "octollm_llm_breaker_state",
    "0 closed, 1 half open, 2 open; as last seen.",
    ["provider", "model"],
    multiprocess_mode="mostrecent",
)
_BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}

for _status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED):
    for _priority in Priority:
        _TASKS.labels(_status, _priority)
for _decision in Decision:
    _VERDICTS.labels(_decision)


def task_ended(status: str, priority: str, seconds: float) -> None:
    """Count a task that ended `seconds` after its submission."""
    _TASKS.labels(str(TaskStatus(status)), str(Priority(priority))).inc()
    _TASK_SECONDS.observe(max(seconds, 0.0))


def arm_invoked(arm: str, outcome: str, seconds: float) -> None:
    """Count an attempt at a step; `arm` is one of the registry, `outcome` a word of our code."""
    _ARM_INVOCATIONS.labels(arm, outcome).inc()
    _ARM_SECONDS.labels(arm).observe(max(seconds, 0.0))


def routed(seconds: float) -> None:
    """Record how long a plan took to become published root steps."""
    _ROUTING_SECONDS.observe(max(seconds, 0.0))


def verdict_given(decision: str) -> None:
    """Count a judged round."""
    _VERDICTS.labels(str(Decision(decision))).inc()


def repaired() -> None:
    """Count a repair round."""
    _REPAIRS.inc()


def screened(kinds: Iterable[str], outcome: str) -> None:
    """Count what was found in a task at the door: kinds of orchestrator.safety, redacted or blocked."""
    for kind in kinds:
        _SCREENED.labels(kind, outcome).inc()


def cache_asked(outcome: str, layer: str | None) -> None:
    """Count what the cache said of a task; `layer` is None where no layer had anything."""
    _CACHE_LOOKUPS.labels(outcome, layer or "none").inc()


def wrong_hit_reported(layer: str) -> None:
    """Count a client's word that a hit was wrong."""
    _CACHE_WRONG_HITS.labels(layer).inc()


def thread_failed(name: str) -> None:
    """Count a failure of a thread that goes on all the same; `name` is a word of our code."""
    _THREAD_FAILURES.labels(name).inc()


def pair_judged(verdict: str) -> None:
    """Count a question whether two tasks are the same; `verdict` is same, different or failed."""
    _PAIRS_JUDGED.labels(verdict).inc()


def lease_expired() -> None:
    """Count a lease that ran out."""
    _LEASES_EXPIRED.inc()


def swept(kind: str, count: int = 1) -> None:
    """Count what the sweeper healed; `kind` is a word of the sweeper's code."""
    if count:
        _SWEPT.labels(kind).inc(count)


def model_attempted(attempt: CallRecord) -> None:
    """Count a call to a model, or why it was not called; model names come from the settings alone."""
    provider, model = attempt.provider, attempt.model
    _MODEL_REQUESTS.labels(provider, model, attempt.outcome).inc()
    if attempt.breaker in _BREAKER_STATES:
        _MODEL_BREAKER.labels(provider, model).set(_BREAKER_STATES[attempt.breaker])
    if not attempt.was_called:
        return
    _MODEL_SECONDS.labels(provider, model).observe(max(attempt.seconds, 0.0))
    if attempt.usage:
        fresh = attempt.usage.input_tokens - attempt.usage.cached_tokens
        _MODEL_TOKENS.labels(provider, model, "input").inc(max(fresh, 0))
        _MODEL_TOKENS.labels(provider, model, "cached_input").inc(attempt.usage.cached_tokens)
        _MODEL_TOKENS.labels(provider, model, "output").inc(attempt.usage.output_tokens)
    if attempt.dollars:
        _MODEL_DOLLARS.labels(provider, model).inc(float(attempt.dollars))


def exposition(collectors: Iterable[Collector] = ()) -> bytes:
    """Return the metrics of all processes of this host, and those of `collectors`, as CONTENT_TYPE text."""
    shared = REGISTRY
    if IS_SHARED:
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # theirs
    own = CollectorRegistry()
    for collector in collectors:
        own.register(collector)
    return bytes(generate_latest(shared)) + bytes(generate_latest(own))

"""Finds the result of an equivalent task, worded differently: candidates, a rule-based guard, a model's verdict."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import structlog

from orchestrator.cache import coalescing, semantic
from orchestrator.cache.exact import CacheEntry, control_of
from orchestrator.cache.semantic import DIFFERENT_SECONDS, MAX_CANDIDATES, EquivalenceVerdict, SimilarTask
from orchestrator.chord.database import statement
from orchestrator.memory import events
from orchestrator.models.errors import StepError
from orchestrator.observability import metric
from workers.attempt.context import AttemptContext
from workers.attempt.model import AttemptModel, GoalMeaning, model_of
from workers.attempt.result_cache import ReusedResult
from workers.attempt.same_task import is_affordable, judge_pair

MAX_CALLS = 2
_MAX_SECONDS = 30.0

log = structlog.get_logger(__name__)


def find_equivalent(attempt: AttemptContext, meaning: GoalMeaning) -> ReusedResult | None:
    """Return the result of a task that a model judged to be the same; None when no model is configured.

    The trace records each candidate. When the model or the budget fails, the task is planned as usual. Raises Stopped.
    """
    model = model_of(attempt.until(time.monotonic() + _MAX_SECONDS))
    if model is None or attempt.claim.cache_key is None or not control_of(attempt.contract).reads:
        return None
    search = _Search(model.attempt, model)
    found = search.review(_by_words(model.attempt))
    if found is None and (vector := meaning.vector()) is not None:
        found = search.review(_by_meaning(model.attempt, vector))
    search.record(found)
    if found is None:
        metric.cache_asked("miss", "alias")
    return found


def _by_words(attempt: AttemptContext) -> Sequence[SimilarTask]:
    goal = attempt.contract.goal
    near = _read(attempt, attempt.process.similar_tasks.find_by_words(str(attempt.claim.cache_key), goal))
    return [candidate for candidate in near if semantic.shares_words(goal, candidate.goal)]


def _by_meaning(attempt: AttemptContext, vector: Sequence[float]) -> Sequence[SimilarTask]:
    claim, goal = attempt.claim, attempt.contract.goal
    own_id = claim.task_id if control_of(attempt.contract).stores else None
    ids = attempt.process.similar_tasks.find_by_vector(str(claim.cache_key), goal, vector, add_task_id=own_id)
    return _read(attempt, ids)[:MAX_CANDIDATES]


def _read(attempt: AttemptContext, ids: Sequence[str]) -> Sequence[SimilarTask]:
    if not ids:
        return ()
    claim, max_age = attempt.claim, control_of(attempt.contract).max_age_seconds
    with statement(attempt.process.engine) as conn:
        return semantic.read_similar(conn, claim.tenant, ids, key=str(claim.cache_key), max_age=max_age)


@dataclass(frozen=True)
class Review:
    """What was decided about a candidate: why it was refused, or a verdict; `reason` is set for a new verdict only."""

    candidate: SimilarTask
    refused: str | None = None
    verdict: EquivalenceVerdict | None = None
    reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Return whether there is neither a refusal nor a verdict yet."""
        return self.refused is None and self.verdict is None

    def to_record(self) -> dict[str, Any]:
        """Return the trace's record of it."""
        verdict: Mapping[str, Any] = asdict(self.verdict) if self.verdict else {}
        return {
            "task_id": self.candidate.task_id,
            "refused": self.refused,
            **verdict,
            "reason": self.reason,
        }


@dataclass
class _Search:
    """The candidates of one task reviewed so far, and the number of model calls that took."""

    attempt: AttemptContext
    model: AttemptModel
    calls: int = field(default=0, init=False)
    reviews: list[Review] = field(default_factory=list, init=False)

    def review(self, near: Sequence[SimilarTask]) -> ReusedResult | None:
        """Return the result of the first candidate that is the same task: by known verdicts first, then by a model."""
        seen = {review.candidate.task_id for review in self.reviews}
        reviews = [self._by_known_verdict(candidate) for candidate in near if candidate.task_id not in seen]
        found = self._result_of(reviews)
        for place, review in enumerate(reviews):
            if found is None and review.is_open:
                reviews[place] = self._by_model(review)
                found = self._result_of([reviews[place]])
        self.reviews += reviews
        return found

    def record(self, found: ReusedResult | None) -> None:
        """Record the reviewed candidates in the trace, if there are any."""
        if not self.reviews:
            return
        decision = {
            "candidates": [review.to_record() for review in self.reviews],
            "source_task_id": found.source.source_id if found else None,
        }
        with statement(self.attempt.process.engine) as conn:
            events.write(conn, self.attempt.claim.task_id, [], round_number=0, decisions={"alias": decision})

    def _by_known_verdict(self, candidate: SimilarTask) -> Review:
        refusal = semantic.guard(self.attempt.contract.goal, candidate.goal)
        if refusal is not None:
            return Review(candidate, refused=refusal)
        verdict = self.attempt.process.equivalence.find(self._key, candidate.cache_key)
        return Review(candidate, verdict=verdict)

    def _by_model(self, review: Review) -> Review:
        """Ask a model, at most MAX_CALLS times and for a small part of the budget, and store its verdict."""
        candidate, contract = review.candidate, self.attempt.contract
        if self.calls == MAX_CALLS or not is_affordable(contract.goal, candidate.goal, contract.budget):
            return replace(review, refused="not_asked")
        self.calls += 1
        try:
            answer = judge_pair(contract.goal, candidate.goal, self.model)
        except StepError as failure:
            # the failed call may have used its whole reservation: a second one could leave too little for the plan
            self.calls = MAX_CALLS
            metric.pair_judged("failed")
            log.warning("alias.not_judged", code=failure.code)
            return replace(review, refused=failure.code)
        metric.pair_judged("same" if answer.is_same else "different")
        verdict = EquivalenceVerdict(answer.is_same, answer.prompt, self.attempt.claim.task_id)
        seconds = candidate.left_seconds if answer.is_same else DIFFERENT_SECONDS
        self.attempt.process.equivalence.put(self._key, candidate.cache_key, verdict, seconds=seconds)
        return replace(review, verdict=verdict, reason=answer.reason)

    def _result_of(self, reviews: Sequence[Review]) -> ReusedResult | None:
        """Return the first still valid result whose verdict is "same", with a cache entry that leads to it."""
        claim, max_age = self.attempt.claim, control_of(self.attempt.contract).max_age_seconds
        for review in reviews:
            if review.verdict is None or not review.verdict.is_same:
                continue
            key = review.candidate.cache_key
            with statement(self.attempt.process.engine) as conn:
                source = coalescing.find_fresh(conn, claim.tenant, key, max_age=max_age, layer="alias")
                parts = coalescing.read_key_parts(conn, claim.task_id)
            if source is not None and parts is not None:
                return ReusedResult(source, CacheEntry(parts, source.source_id, key, layer="alias"))
        return None

    @property
    def _key(self) -> str:
        return str(self.attempt.claim.cache_key)

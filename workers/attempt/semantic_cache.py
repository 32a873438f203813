"""Finds the result of a task that asks for the same in other words: candidates, the guard, and a judge's word."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import structlog

from orchestrator.bootstrap import WorkerProcess
from orchestrator.cache import coalescing, semantic
from orchestrator.cache.exact import CacheEntry, control_of
from orchestrator.cache.semantic import DIFFERENT_SECONDS, MAX_CANDIDATES, EquivalenceVerdict, SimilarTask
from orchestrator.chord.database import statement
from orchestrator.memory import events
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import StepError
from orchestrator.models.task_contract import Contract
from orchestrator.observability import metric
from workers.attempt.model import ClaimEmbedder, ClaimModel, OpenEmbedder, OpenModels
from workers.attempt.result_cache import Reuse
from workers.attempt.same_task import is_affordable, judge_pair

MAX_CALLS = 2
_PATIENCE_SECONDS = 30.0

log = structlog.get_logger(__name__)


def find_alias(
    process: WorkerProcess,
    claim: Claim,
    *,
    deadline: float,
    is_stopped: Callable[[], bool],
    open_models: OpenModels | None,
    open_embedder: OpenEmbedder = lambda: None,
) -> Reuse | None:
    """Return the result of a task that a judge finds to be the claimed one; None without a model to judge.

    What was looked at is told in the trace. A model or a budget that fails only means that the task is planned.
    Raises Stopped when the attempt was told to stop.
    """
    contract = Contract.from_record(claim.contract)
    control = control_of(contract)
    if open_models is None or claim.cache_key is None or not control.reads:
        return None
    until = min(deadline, time.monotonic() + _PATIENCE_SECONDS)
    model = ClaimModel(open_models, process.engine, claim, until, is_stopped)
    search = _Search(process, claim, contract, model)
    found = search.among(_by_words(process, claim, contract))
    if found is None and (embedder := open_embedder()) is not None:
        asked = ClaimEmbedder(embedder, process.engine, claim, until, is_stopped)
        found = search.among(_by_meaning(process, claim, contract, asked))
    search.tell(found)
    if found is None:
        metric.cache_asked("miss", "alias")
    return found


def _by_words(process: WorkerProcess, claim: Claim, contract: Contract) -> Sequence[SimilarTask]:
    ids = process.similar_tasks.find_by_words(str(claim.cache_key), contract.goal)
    near = _read(process, claim, contract, ids)
    return [candidate for candidate in near if semantic.shares_words(contract.goal, candidate.goal)]


def _by_meaning(
    process: WorkerProcess, claim: Claim, contract: Contract, embedder: ClaimEmbedder
) -> Sequence[SimilarTask]:
    try:
        [vector] = embedder.embed([contract.goal])
    except StepError as failure:
        log.warning("alias.not_embedded", code=failure.code)
        return ()
    own_id = claim.task_id if control_of(contract).stores else None
    ids = process.similar_tasks.find_by_vector(
        str(claim.cache_key), contract.goal, vector, add_task_id=own_id
    )
    return _read(process, claim, contract, ids)[:MAX_CANDIDATES]


def _read(
    process: WorkerProcess, claim: Claim, contract: Contract, ids: Sequence[str]
) -> Sequence[SimilarTask]:
    if not ids:
        return ()
    max_age = control_of(contract).max_age_seconds
    with statement(process.engine) as conn:
        return semantic.read_similar(conn, claim.tenant, ids, key=str(claim.cache_key), max_age=max_age)


@dataclass(frozen=True)
class Look:
    """What came of looking at a candidate: why it was refused, or what was said of it; just now, if with a reason."""

    candidate: SimilarTask
    refused: str | None = None
    verdict: EquivalenceVerdict | None = None
    reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether nobody has said anything of it yet."""
        return self.refused is None and self.verdict is None

    def to_record(self) -> dict[str, Any]:
        """Return what the trace says of it."""
        said: Mapping[str, Any] = asdict(self.verdict) if self.verdict else {}
        return {
            "task_id": self.candidate.task_id,
            "refused": self.refused,
            **said,
            "reason": self.reason,
        }


@dataclass
class _Search:
    """One task's look at its candidates, and how many calls to models it took so far."""

    process: WorkerProcess
    claim: Claim
    contract: Contract
    model: ClaimModel
    calls: int = field(default=0, init=False)
    looks: list[Look] = field(default_factory=list, init=False)

    def among(self, near: Sequence[SimilarTask]) -> Reuse | None:
        """Return the result of the first that is the same task: by known verdicts first, then by asking."""
        seen = {look.candidate.task_id for look in self.looks}
        looks = [self._known(candidate) for candidate in near if candidate.task_id not in seen]
        found = self._opened(looks)
        for place, look in enumerate(looks):
            if found is None and look.is_open:
                looks[place] = self._asked(look)
                found = self._opened([looks[place]])
        self.looks += looks
        return found

    def tell(self, found: Reuse | None) -> None:
        """Put into the trace what was looked at, if anything was."""
        if not self.looks:
            return
        told = {
            "candidates": [look.to_record() for look in self.looks],
            "source_task_id": found.source.source_id if found else None,
        }
        with statement(self.process.engine) as conn:
            events.write(conn, self.claim.task_id, [], round_number=0, decisions={"alias": told})

    def _known(self, candidate: SimilarTask) -> Look:
        refusal = semantic.guard(self.contract.goal, candidate.goal)
        if refusal is not None:
            return Look(candidate, refused=refusal)
        return Look(candidate, verdict=self.process.equivalence.find(self._key, candidate.cache_key))

    def _asked(self, look: Look) -> Look:
        """Ask a model, at most MAX_CALLS times and for little money, and remember what it says."""
        candidate, goal = look.candidate, self.contract.goal
        if self.calls == MAX_CALLS or not is_affordable(goal, candidate.goal, self.contract.budget):
            return replace(look, refused="not_asked")
        self.calls += 1
        try:
            word = judge_pair(goal, candidate.goal, self.model)
        except StepError as failure:
            # it may have been charged all that was set aside: a second one could cost the task its plan
            self.calls = MAX_CALLS
            metric.pair_judged("failed")
            log.warning("alias.not_judged", code=failure.code)
            return replace(look, refused=failure.code)
        metric.pair_judged("same" if word.is_same else "different")
        verdict = EquivalenceVerdict(word.is_same, word.prompt, self.claim.task_id)
        seconds = candidate.left_seconds if word.is_same else DIFFERENT_SECONDS
        self.process.equivalence.put(self._key, candidate.cache_key, verdict, seconds=seconds)
        return replace(look, verdict=verdict, reason=word.reason)

    def _opened(self, looks: Sequence[Look]) -> Reuse | None:
        """Return the first result that a verdict opens and that may still answer, with an entry that leads to it."""
        for look in looks:
            if look.verdict is None or not look.verdict.is_same:
                continue
            key, max_age = look.candidate.cache_key, control_of(self.contract).max_age_seconds
            with statement(self.process.engine) as conn:
                source = coalescing.find_fresh(conn, self.claim.tenant, key, max_age=max_age, layer="alias")
                parts = coalescing.read_key_parts(conn, self.claim.task_id)
            if source is not None and parts is not None:
                return Reuse(source, CacheEntry(parts, source.source_id, key, layer="alias"))
        return None

    @property
    def _key(self) -> str:
        return str(self.claim.cache_key)

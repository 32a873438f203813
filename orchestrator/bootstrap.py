"""Wires a process once: what the API's verbs and the workers' tasks stand on."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import redis
import structlog
from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import settings as settings_module
from orchestrator.auth import credential
from orchestrator.auth.jwks import KeySet
from orchestrator.auth.rate_limit import RateLimiter
from orchestrator.cache.exact import ResultCache
from orchestrator.cache.redis_policy import refuse_eviction
from orchestrator.cache.semantic import (
    DIFFERENT_SECONDS,
    FEEDBACK,
    EquivalenceMemo,
    EquivalenceVerdict,
    SimilarTaskIndex,
)
from orchestrator.chord.database import is_away, open_engine, statement
from orchestrator.connections.redis_client import open_client
from orchestrator.lifecycle import retry, submission, withdrawal
from orchestrator.lifecycle.backpressure import Occupancy
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.submission import Submitted
from orchestrator.lifecycle.withdrawal import Withdrawn
from orchestrator.llm import model_chain, pricing
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.gate import SharedGate, policy_for
from orchestrator.llm.model_chain import ModelChain
from orchestrator.memory import row_security
from orchestrator.memory.encoding import refuse_encoding
from orchestrator.memory.hints import Hints
from orchestrator.memory.steps import Fenced, StepMessage
from orchestrator.memory.submissions import IdempotencyKey
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.execution_state import StepState
from orchestrator.models.task_contract import Contract
from orchestrator.observability import log, metric
from orchestrator.queue import canvas
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Orchestrator:
    """What the API stands on: its connections, and the verbs that change a task."""

    settings: Settings
    engine: Engine
    redis: redis.Redis
    hints: Hints
    limiter: RateLimiter
    occupancy: Occupancy
    cache: ResultCache
    provider: KeySet | None
    app: Celery = field(repr=False)

    @cached_property
    def ticket_secret(self) -> bytes:
        """What seals stream tickets."""
        return credential.ticket_secret(self.settings)

    def publish(self, messages: Sequence[StepMessage]) -> int:
        """Publish rows of work; what the broker does not take stays due in the database."""
        return canvas.publish(self.app, messages)

    def submit(
        self,
        *,
        tenant: str,
        key_id: str | None,
        request_id: str | None,
        contract: Contract,
        idempotency: IdempotencyKey | None = None,
        scopes: frozenset[str] = frozenset(),
    ) -> Submitted:
        """Accept a task; see orchestrator.lifecycle.submission.submit.

        Raises TooManyTasks or QueueFull when there is no room, but not for one that an earlier result answers.
        """
        accepted = submission.submit(
            self.engine,
            self.publish,
            settings=self.settings,
            tenant=tenant,
            key_id=key_id,
            request_id=request_id,
            contract=contract,
            idempotency=idempotency,
            cache=self.cache,
            scopes=scopes,
            require_room=lambda: self.occupancy.require_room(tenant),
        )
        self._count(tenant, accepted)
        return accepted

    def retry(
        self,
        *,
        tenant: str,
        key_id: str | None,
        request_id: str | None,
        task_id: str,
        from_step: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> Submitted:
        """Accept a task that repeats an ended one; see orchestrator.lifecycle.retry.retry. Raises like `submit`."""
        self.occupancy.require_room(tenant)
        accepted = retry.retry(
            self.engine,
            self.publish,
            settings=self.settings,
            tenant=tenant,
            key_id=key_id,
            request_id=request_id,
            task_id=task_id,
            from_step=from_step,
            idempotency=idempotency,
        )
        self._count(tenant, accepted)
        return accepted

    def find_earlier(self, tenant: str, idempotency: IdempotencyKey | None) -> Submitted | None:
        """Return what an earlier submission of the same name made; see orchestrator.lifecycle.submission."""
        return submission.find_earlier(self.engine, tenant=tenant, idempotency=idempotency)

    def _count(self, tenant: str, accepted: Submitted) -> None:
        if accepted.is_replay:
            return
        metric.cache_asked(accepted.cached.outcome, accepted.cached.layer)
        if not accepted.status.is_final():
            self.occupancy.add(tenant)

    def report_wrong_hit(self, *, tenant: str, task_id: str, reason: str = "") -> Withdrawn:
        """Take back the result that answered a task wrongly; see orchestrator.lifecycle.withdrawal."""
        withdrawn = withdrawal.report_wrong_hit(self.engine, tenant=tenant, task_id=task_id, reason=reason)
        forget_hit(self.cache, withdrawn)
        metric.wrong_hit_reported(withdrawn.layer)
        return withdrawn

    def cancel(self, *, tenant: str, task_id: str, reason: str = "") -> tuple[TaskRecord, Sequence[Fenced]]:
        """Cancel a task and return it, with what that stopped; see orchestrator.lifecycle.submission.cancel."""
        task, ended = submission.cancel(self.engine, tenant=tenant, task_id=task_id, reason=reason)
        if ended is not None:
            tell_end(self.hints, ended)
        return task, ended.stopped if ended is not None else ()


@dataclass(frozen=True)
class WorkerProcess:
    """What a worker's process stands on; `owner` names it in leases: host and pid."""

    settings: Settings
    engine: Engine
    hints: Hints
    app: Celery = field(repr=False)
    owner: str

    @cached_property
    def cache(self) -> ResultCache:
        """This process' way to the result cache."""
        return ResultCache(self.settings)

    @cached_property
    def similar_tasks(self) -> SimilarTaskIndex:
        """Index of tasks with similar goals."""
        return SimilarTaskIndex(self.cache.store, ttl_seconds=self.cache.ttl_seconds)

    @cached_property
    def equivalence(self) -> EquivalenceMemo:
        """Verdicts on pairs of such tasks."""
        return EquivalenceMemo(self.cache.store)


def for_api(settings: Settings | None = None) -> Orchestrator:
    """Wire an API process; reads the environment when no settings are given. Raises SettingsError."""
    chosen = settings or settings_module.load()
    credential.require_signing(chosen)
    engine = open_engine(chosen.database_url, pool_size=chosen.database_pool_size)
    refuse_servers(chosen, engine)
    return Orchestrator(
        settings=chosen,
        engine=engine,
        redis=open_client(chosen.redis_url),
        hints=Hints(chosen.redis_url),
        limiter=RateLimiter(chosen.redis_url),
        cache=ResultCache(chosen),
        provider=KeySet(chosen.jwt_jwks_url) if chosen.jwt_jwks_url else None,
        occupancy=Occupancy(engine, settings=chosen),
        app=make_app(lambda: chosen),
    )


def refuse_servers(settings: Settings, engine: Engine) -> None:
    """Raise SettingsError at a process's start for servers that it must not work on: call it once a process.

    A server that is away is let pass, except where row-level security is required: it may come back, and all that
    needs it says so itself.
    """
    refuse_eviction(settings.redis_url)
    try:
        with statement(engine) as conn:
            refuse_encoding(conn)
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        _log.warning("postgres.not_examined", error=type(error).__name__)
    if settings.require_row_level_security == "on":
        row_security.require(engine)


def for_worker(app: Celery, *, service: str) -> WorkerProcess:
    """Wire a worker's process on the engine of the app's own result backend, and its log as `service`."""
    chosen = settings_module.load()
    log.configure(chosen, service=service)
    if service == "worker":
        _require_secret(chosen)
    backend: Any = app.backend
    owner = f"{socket.gethostname()}:{os.getpid()}"
    return WorkerProcess(chosen, backend.engine, Hints(chosen.redis_url), app, owner=owner)


def _require_secret(settings: Settings) -> None:
    """Raise SettingsError at a worker's start rather than in its first task."""
    if settings.octollm_kind == "webhook":
        credential.webhook_secret(settings, "")
    else:
        credential.cache_secret(settings)


def open_models(settings: Settings) -> ModelChain:
    """Return the models that the settings choose, their breakers and rates shared with all other processes.

    One a process; imports the SDKs of the chosen providers. Calls are counted in the metrics.
    """
    return model_chain.open_models(
        settings, gate=_gate(settings), observe=metric.model_attempted, environ=os.environ
    )


def load_prices() -> None:
    """Load the table of all models' prices, which the first call needs."""
    pricing.preload_prices()


def open_embedder(settings: Settings) -> Embedder | None:
    """Return the embedding model that the settings choose, or None; see `open_models`."""
    return model_chain.open_embedder(
        settings, gate=_gate(settings), observe=metric.model_attempted, environ=os.environ
    )


def _gate(settings: Settings) -> SharedGate:
    return SharedGate(
        open_client(settings.redis_url, timeout_seconds=1), policy_for(settings.llm_timeout_seconds)
    )


def forget_hit(cache: ResultCache, withdrawn: Withdrawn) -> None:
    """Have Redis forget a wrong hit. Call it after the commit.

    Where a judge had found two tasks to be the same, that they are not is remembered instead.
    """
    for key in withdrawn.keys:
        cache.forget(key)
    different = EquivalenceVerdict(False, FEEDBACK, withdrawn.task_id)
    for one, other in pairwise(withdrawn.keys):
        if one != other:
            EquivalenceMemo(cache.store).put(one, other, different, seconds=DIFFERENT_SECONDS)


def tell_end(hints: Hints, ended: Ended) -> None:
    """Count a task's end, wake who watches it, and have its running steps stopped. Call it after the commit."""
    metric.task_ended(ended.status.value, ended.priority, ended.age_seconds)
    hints.send(ended.task_id)
    for follower in ended.shared:
        metric.task_ended(ended.status.value, follower.priority, follower.age_seconds)
        hints.send(follower.task_id)
    if any(row.former_state == StepState.RUNNING for row in ended.stopped):
        hints.stop(ended.task_id)

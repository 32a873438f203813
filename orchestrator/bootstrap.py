"""Wires a process at its start: opens its connections, checks its servers, and builds what its code works on."""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import structlog
from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import settings as settings_module
from orchestrator.auth import credential
from orchestrator.auth.egress import EgressRules
from orchestrator.auth.jwks import KeySet
from orchestrator.auth.rate_limit import RateLimiter
from orchestrator.cache.exact import ResultCache
from orchestrator.cache.redis_policy import refuse_eviction
from orchestrator.cache.semantic import (
    EquivalenceMemo,
    SimilarTaskIndex,
)
from orchestrator.chord.database import is_away, open_engine, statement
from orchestrator.connections.redis_client import open_client
from orchestrator.lifecycle.backpressure import Backpressure
from orchestrator.llm import model_chain, pricing
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.gate import SharedGate, policy_for
from orchestrator.llm.model_chain import ModelChain
from orchestrator.memory import pools, row_security
from orchestrator.memory.encoding import refuse_encoding
from orchestrator.memory.hints import Hints
from orchestrator.memory.pools import ArmStatistics
from orchestrator.memory.registered_arms import RegisteredArms
from orchestrator.models.arm_capability import ARMS, REMOTE
from orchestrator.models.errors import SettingsError
from orchestrator.observability import log, metric, tracing
from orchestrator.orchestrator import Orchestrator, TaskLoop
from orchestrator.planner import recipes
from orchestrator.process.refreshed import Refreshed
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings

# a plan reads statistics in the background if they are older than the first, and waits only where older than the second
_STATISTICS_FRESH_SECONDS = 1.0
_STATISTICS_STALE_SECONDS = 5.0
# a call that tries an HTTP arm again counts as lost a little later; most steps take less
_ARM_PROBE_SECONDS = 60.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerProcess:
    """The connections of a worker's process; `owner` (host:pid) names it in leases."""

    settings: Settings
    engine: Engine
    hints: Hints
    app: Celery = field(repr=False)
    owner: str

    @cached_property
    def loop(self) -> TaskLoop:
        """What the outcomes of this process' work change."""
        return TaskLoop(self.settings, self.hints, lambda: self.cache, self.app)

    @cached_property
    def arm_statistics(self) -> Refreshed[dict[str, ArmStatistics]]:
        """Each arm's statistics, a few seconds old; no tenant's declarations."""

        def read() -> dict[str, ArmStatistics]:
            with statement(self.engine) as conn:
                return pools.arm_statistics(conn)

        return Refreshed(
            read, fresh_seconds=_STATISTICS_FRESH_SECONDS, stale_seconds=_STATISTICS_STALE_SECONDS
        )

    def statistics_of(self, arms: Iterable[str]) -> Mapping[str, ArmStatistics]:
        """Return the statistics of these arms and of those of the manifests; reads those of registered arms now."""
        known = self.arm_statistics.get()
        others = [ARMS[arm] for arm in arms if arm not in known]
        if not others:
            return known
        with statement(self.engine) as conn:
            return known | pools.arm_statistics(conn, arms=others)

    @cached_property
    def arm_gate(self) -> SharedGate:
        """The circuit breakers of HTTP arms."""
        return SharedGate(
            open_client(self.settings.redis_url, timeout_seconds=1), policy_for(_ARM_PROBE_SECONDS)
        )

    @cached_property
    def cache(self) -> ResultCache:
        """The result cache."""
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
    refuse_metrics_directory()
    tracing.configure(chosen.octollm_kind or "web")
    engine = open_engine(chosen.database_url, pool_size=chosen.database_pool_size)
    refuse_servers(chosen, engine)
    _attach_registered_arms(chosen, engine)
    recipes.report_left_out()
    return Orchestrator(
        settings=chosen,
        engine=engine,
        redis=open_client(chosen.redis_url),
        hints=Hints(chosen.redis_url),
        limiter=RateLimiter(chosen.redis_url),
        cache=ResultCache(chosen),
        provider=KeySet(chosen.jwt_jwks_url) if chosen.jwt_jwks_url else None,
        backpressure=Backpressure(engine, settings=chosen),
        app=make_app(lambda: chosen),
    )


def refuse_metrics_directory() -> None:
    """Raise SettingsError for a PROMETHEUS_MULTIPROC_DIR that can't be written; log it of the default directory."""
    if not metric.SHARING.fault:
        return
    if metric.SHARING.is_named:
        raise SettingsError(metric.SHARING.fault)
    _log.warning("metrics.not_shared", reason=metric.SHARING.fault)


def refuse_servers(settings: Settings, engine: Engine) -> None:
    """Raise SettingsError for servers that a process must not work on; call it once, at the process's start.

    A server that is away passes, because each later use of it reports its absence; not so where row-level security is
    required.
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
    """Wire a worker's process, which shares the engine of the app's result backend; `service` names it in the log."""
    chosen = settings_module.load()
    log.configure(chosen, service=service)
    refuse_metrics_directory()
    tracing.configure(chosen.octollm_kind or service)
    if service == "worker":
        _require_secret(chosen)
    if chosen.octollm_kind in ("", "planner"):
        recipes.loaded()
    backend: Any = app.backend
    _attach_registered_arms(chosen, backend.engine)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    return WorkerProcess(chosen, backend.engine, Hints(chosen.redis_url), app, owner=owner)


def _attach_registered_arms(settings: Settings, engine: Engine) -> None:
    """Let this process find registered arms; where no URL is allowed, only for the steps that already name one."""
    ARMS.attach(RegisteredArms(engine, offers_any=EgressRules.for_arms(settings).allows_any))


def _require_secret(settings: Settings) -> None:
    """Raise SettingsError for a missing secret at a worker's start rather than in its first task."""
    if settings.octollm_kind == "webhook":
        credential.webhook_secret(settings, "")
    elif settings.octollm_kind == REMOTE:
        credential.arm_secret(settings, "")
    else:
        credential.cache_secret(settings)


def open_models(settings: Settings) -> ModelChain:
    """Return the models that the settings choose; circuit breakers and rates are shared with all processes.

    Call it once in a process: it imports the SDKs of the chosen providers. The metrics count each call.
    """
    return model_chain.open_models(
        settings,
        gate=_gate(settings),
        observe=metric.model_attempted,
        environ=os.environ,
        learned=LearnedFacts(open_client(settings.redis_url, timeout_seconds=1)),
        trace=tracing.model_called,
    )


def load_prices() -> None:
    """Load the price table of all models, which the first call to a model needs."""
    pricing.preload_prices()


def open_embedder(settings: Settings) -> Embedder | None:
    """Return the embedding model that the settings choose, or None; see `open_models`."""
    return model_chain.open_embedder(
        settings,
        gate=_gate(settings),
        observe=metric.model_attempted,
        environ=os.environ,
        trace=partial(tracing.model_called, operation="embeddings"),
    )


def _gate(settings: Settings) -> SharedGate:
    return SharedGate(
        open_client(settings.redis_url, timeout_seconds=1), policy_for(settings.llm_timeout_seconds)
    )

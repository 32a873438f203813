"""Gauges computed from Postgres and Redis at each scrape: open tasks, queue depths, live workers."""

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord import sql
from orchestrator.chord.database import statement
from orchestrator.memory.pools import ALIVE_WITHIN_SECONDS
from orchestrator.models.arm_capability import ALL_QUEUES, ARMS
from orchestrator.models.execution_state import Phase

_SQL = sql.load(__file__)
_PHASES = tuple(phase for phase in Phase if phase is not Phase.DONE)
# kombu.transport.redis: a queue is one list for each priority step; the first list has the queue's plain name
_SEPARATOR = "\x06\x16"
_LAYERS = ("exact", "alias")
_LOWER_STEPS = (3, 6, 9)
_DESCRIPTIONS = {
    "octollm_active_tasks": "Open tasks.",
    "octollm_queue_depth": "Messages that wait in the broker.",
    "octollm_queue_oldest_seconds": "Age of the oldest step that could be claimed now.",
    "octollm_workers": "Live worker processes that take work.",
    "octollm_cache_layers_off": "Tenants for whom a layer of the cache is off: it was wrong too often.",
}
_log = structlog.get_logger(__name__)


class StateGauges(Collector):
    """Gauges computed at most once in `cache_seconds`; safe to scrape from several threads.

    If a server can't be reached, its gauges are missing and octollm_census_up is 0 for it.
    """

    def __init__(
        self, engine: Engine, redis: "Redis", *, retention_days: int, cache_seconds: float = 2.0
    ) -> None:
        self._engine = engine
        self._retention_days = retention_days
        self._redis = redis
        self._cache_seconds = cache_seconds
        self._counted_at = float("-inf")
        self._metrics: list[Metric] = []
        self._lock = Lock()

    def describe(self) -> Iterable[Metric]:
        """Describe nothing, so that registering works without the servers."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        with self._lock:
            if time.monotonic() - self._counted_at > self._cache_seconds:
                self._metrics = self._count()
                self._counted_at = time.monotonic()
            return list(self._metrics)

    def _count(self) -> list[Metric]:
        up = GaugeMetricFamily("octollm_census_up", "Whether the server answered.", labels=["server"])
        counted: list[Metric] = [up]
        for server, count in (("postgres", self._from_postgres), ("redis", self._from_redis)):
            found = _count_or_nothing(server, count)
            up.add_metric([server], float(bool(found)))
            counted.extend(found)
        return counted

    def _from_postgres(self) -> list[Metric]:
        values = {"within_seconds": ALIVE_WITHIN_SECONDS, "days": self._retention_days}
        with statement(self._engine) as conn:
            found = {name: _pairs(conn.exec_driver_sql(_SQL[name], values).all()) for name in _SQL}
        late = GaugeMetricFamily(
            "octollm_retention_overdue_seconds",
            "For how long the oldest ended task has been due for deletion.",
            value=found["age_overdue"].get("tasks", 0.0),
        )
        return [
            late,
            _gauge("octollm_active_tasks", "phase", keys=_PHASES, found=found["count_tasks"]),
            _gauge("octollm_queue_oldest_seconds", "queue", keys=ALL_QUEUES, found=found["age_queues"]),
            _gauge("octollm_workers", "arm", keys=_served(), found=found["count_workers"]),
            _gauge("octollm_cache_layers_off", "layer", keys=_LAYERS, found=found["count_layers_off"]),
        ]

    def _from_redis(self) -> list[Metric]:
        pipeline = self._redis.pipeline(transaction=False)
        for queue in ALL_QUEUES:
            for key in _lists_of(queue):
                pipeline.llen(key)
        lengths = iter(pipeline.execute())
        depths = {queue: float(sum(next(lengths) for _ in _lists_of(queue))) for queue in ALL_QUEUES}
        return [_gauge("octollm_queue_depth", "queue", keys=ALL_QUEUES, found=depths)]


def _served() -> list[str]:
    return [arm.arm_id for arm in ARMS.values() if arm.has_workers]


def _count_or_nothing(server: str, count: Callable[[], list[Metric]]) -> list[Metric]:
    try:
        return count()
    except (SQLAlchemyError, RedisError, OSError) as error:
        _log.warning("census.server_away", server=server, error=type(error).__name__)
        return []


def _lists_of(queue: str) -> tuple[str, ...]:
    return (queue, *(f"{queue}{_SEPARATOR}{step}" for step in _LOWER_STEPS))


def _pairs(rows: Iterable[Any]) -> dict[str, float]:
    return {name: float(value) for name, value in rows}


def _gauge(name: str, label: str, *, keys: Iterable[str], found: Mapping[str, float]) -> Metric:
    """Return a gauge with a sample for every key, 0 if `found` lacks it; other names in `found` are ignored."""
    family = GaugeMetricFamily(name, _DESCRIPTIONS[name], labels=[label])
    for key in keys:
        family.add_metric([str(key)], found.get(key, 0.0))
    return family

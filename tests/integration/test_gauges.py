"""The gauges of /metrics show the state of Postgres and Redis."""

from collections.abc import Iterator

import pytest
import redis
from prometheus_client.core import Metric
from sqlalchemy import Engine

from orchestrator.memory import pools
from orchestrator.models.arm_capability import ALL_QUEUES, ARMS
from orchestrator.observability import metric
from orchestrator.observability.gauges import StateGauges

_TASK = """
INSERT INTO tasks (id, tenant, priority, contract, status, phase, deadline_at)
VALUES (%(id)s, 'acme', 'medium', '{}', 'processing', %(phase)s, now() + interval '1 hour')
"""
_STEP = """
INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, state, not_before, queued_at, due)
VALUES (%(id)s, 'task_0000000000000001', 0, 'plan', %(id)s, 'coder', %(queue)s, 6, 'queued',
    now() + %(wait)s * interval '1 second', now() - interval '40 seconds', now())
"""


@pytest.fixture
def broker(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _samples(metrics: list[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value for found in metrics for sample in found.samples
    }


def test_empty_queues_and_phases_are_zero(engine: Engine, broker: "redis.Redis") -> None:
    found = _samples(list(StateGauges(engine, broker, retention_days=30).collect()))

    assert {found["octollm_queue_depth", queue] for queue in ALL_QUEUES} == {0.0}
    assert {found["octollm_queue_oldest_seconds", queue] for queue in ALL_QUEUES} == {0.0}
    assert found["octollm_active_tasks", "judging"] == 0.0
    assert ("octollm_active_tasks", "done") not in found
    assert {found["octollm_workers", arm] for arm in ARMS if ARMS[arm].has_workers} == {0.0}
    assert found["octollm_census_up", "postgres"] == found["octollm_census_up", "redis"] == 1.0


def test_messages_of_all_priorities_count_as_one_queue(engine: Engine, broker: "redis.Redis") -> None:
    # kombu's names: the queue without a suffix has priority 0
    for step, messages in (("", 1), ("\x06\x163", 2), ("\x06\x166", 3), ("\x06\x169", 4)):
        broker.rpush(f"arm.coder{step}", *["m"] * messages)

    found = _samples(list(StateGauges(engine, broker, retention_days=30).collect()))

    assert found["octollm_queue_depth", "arm.coder"] == 10.0
    assert found["octollm_queue_depth", "arm.executor"] == 0.0


def test_open_tasks_ages_and_workers_are_counted(engine: Engine, broker: "redis.Redis") -> None:
    with engine.begin() as conn:
        for number, phase in enumerate(("planning", "executing", "executing"), start=1):
            conn.exec_driver_sql(_TASK, {"id": f"task_000000000000000{number}", "phase": phase})
        conn.exec_driver_sql(_STEP, {"id": "old", "queue": "arm.coder", "wait": -30})
        conn.exec_driver_sql(_STEP, {"id": "waits for its retry", "queue": "judge", "wait": 60})
        pools.record_heartbeat(
            conn,
            pools.PoolReport(
                node="n",
                queue="arm.coder",
                arm="coder",
                concurrency=2,
                busy=0,
                isolation="none",
                version="0",
                registry_digest="d",
            ),
        )

    found = _samples(list(StateGauges(engine, broker, retention_days=30).collect()))

    assert found["octollm_active_tasks", "executing"] == 2.0
    assert 29 < found["octollm_queue_oldest_seconds", "arm.coder"] < 35
    assert found["octollm_queue_oldest_seconds", "judge"] == 0.0
    assert found["octollm_workers", "coder"] == 1.0


def test_a_second_scrape_within_two_seconds_sends_no_query(engine: Engine, broker: "redis.Redis") -> None:
    census = StateGauges(engine, broker, retention_days=30, cache_seconds=60)
    list(census.collect())
    broker.rpush("judge", "m")

    assert _samples(list(census.collect()))["octollm_queue_depth", "judge"] == 0.0
    assert (
        _samples(list(StateGauges(engine, broker, retention_days=30).collect()))[
            "octollm_queue_depth", "judge"
        ]
        == 1.0
    )


def test_if_one_server_is_down_the_others_gauges_remain(engine: Engine) -> None:
    # none of our servers listens on port 9 (discard)
    nobody = redis.Redis(port=9, socket_connect_timeout=0.2, retry=None)

    text = metric.exposition([StateGauges(engine, nobody, retention_days=30)]).decode()

    assert 'octollm_census_up{server="redis"} 0.0' in text
    assert 'octollm_active_tasks{phase="planning"} 0.0' in text
    assert "octollm_queue_depth{" not in text

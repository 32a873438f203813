"""Sends a stream with near misses through the real submission: no task gets another task's result."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from bench.support.cache_drive import SERVICE_SECONDS, Drive
from bench.support.oracle import Oracle
from bench.support.virtual_clock import VirtualClock
from bench.workload.dictionary import answer
from bench.workload.outcome import shares
from bench.workload.stream import Kind, Mix, Request, stream
from orchestrator import bootstrap
from orchestrator.chord.database import open_engine
from orchestrator.settings import Settings
from tests.integration.cache.kit import Company

TTL_SECONDS = 120
MIX = Mix(requests=500, tasks=60, fixed=0.5, burst_every=200, burst_size=20)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Requests over more than three times the TTL."""
    asked = list(stream(MIX))
    assert asked[-1].at > 3 * TTL_SECONDS
    return asked


@contextmanager
def driving(settings: Settings, oracle: Oracle | None = None) -> Iterator[Drive]:
    """Yield a drive of the real servers on a virtual clock; `oracle` judges similar tasks."""
    with closing(VirtualClock(settings.database_url, settings.redis_url)) as clock:
        chosen = replace(settings, database_url=clock.database_url, cache_ttl=TTL_SECONDS)
        workers = open_engine(clock.database_url)
        company = Company(workers, chosen, oracle)
        orchestrator = bootstrap.for_api(replace(company.settings, openai_api_key="k"))
        try:
            yield Drive(orchestrator, company, clock)
        finally:
            workers.dispose()
            orchestrator.engine.dispose()


@pytest.mark.slow
def test_no_request_of_a_stream_gets_another_tasks_result(
    our_settings: Settings, requests: list[Request]
) -> None:
    with driving(our_settings) as drive:
        outcomes = drive.run(requests)

    assert [outcome.request for outcome in outcomes if outcome.is_wrong] == []
    assert sum(outcome.request.kind is Kind.TRAP for outcome in outcomes) > 20
    assert shares(outcomes).hit_rate == pytest.approx(rate_by_key(requests), abs=0.02)


@pytest.mark.slow
def test_a_perfect_judge_adds_hits_and_no_wrong_hit(our_settings: Settings, requests: list[Request]) -> None:
    with Oracle(requests) as oracle, driving(our_settings, oracle) as drive:
        outcomes = drive.run(requests)
        model_calls = drive.model_calls

    assert [outcome.request for outcome in outcomes if outcome.is_wrong] == []
    found = shares(outcomes)
    assert found.by_layer["alias"] > 0.05
    assert found.hit_rate > rate_by_key(requests)
    assert model_calls == len(oracle.received) > 0


def rate_by_key(requests: list[Request]) -> float:
    """Return the hit rate of the exact keys alone."""
    return shares(answer(requests, ttl_seconds=TTL_SECONDS, service_seconds=SERVICE_SECONDS)).hit_rate

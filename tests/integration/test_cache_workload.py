"""A stream with traps through the real submission: nobody ever gets another task's answer."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from bench.support.cache_drive import SERVICE_SECONDS, Drive
from bench.support.virtual_clock import VirtualClock
from bench.workload.dictionary import answer
from bench.workload.outcome import Outcome, shares
from bench.workload.stream import Kind, Mix, Request, stream
from orchestrator import bootstrap
from orchestrator.settings import Settings
from tests.integration.cache_kit import Company

TTL_SECONDS = 120
MIX = Mix(requests=500, tasks=60, fixed=0.5, burst_every=200, burst_size=20)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """What is asked for, over several times the TTL."""
    asked = list(stream(MIX))
    assert asked[-1].at > 3 * TTL_SECONDS
    return asked


@pytest.fixture
def drive(our_settings: Settings) -> Iterator[Drive]:
    """The real thing on a clock of its own."""
    with closing(VirtualClock(our_settings.database_url, our_settings.redis_url)) as clock:
        settings = replace(our_settings, database_url=clock.database_url, cache_ttl=TTL_SECONDS)
        orchestrator = bootstrap.for_api(settings)
        yield Drive(orchestrator, Company(orchestrator.engine, settings), clock)
        orchestrator.engine.dispose()


@pytest.mark.slow
def test_no_request_of_a_stream_gets_another_ones_answer(drive: Drive, requests: list[Request]) -> None:
    outcomes = drive.run(requests)

    assert [outcome.request for outcome in outcomes if outcome.is_wrong] == []
    assert sum(outcome.request.kind is Kind.TRAP for outcome in outcomes) > 20
    assert rate(outcomes) == pytest.approx(expected_rate(requests), abs=0.02)


def expected_rate(requests: list[Request]) -> float:
    """Return the hit rate that the keys alone come to."""
    return rate(answer(requests, ttl_seconds=TTL_SECONDS, service_seconds=SERVICE_SECONDS))


def rate(outcomes: list[Outcome]) -> float:
    return shares(outcomes).hit_rate

"""An arm's status is the worse of its measured and its declared status."""

from dataclasses import replace

import pytest

from api.routes.arms import status_of
from orchestrator.memory.pools import ArmStatistics

IDLE = ArmStatistics(
    arm="coder",
    workers=1,
    busy=0,
    concurrency=2,
    queued=0,
    attempts=0,
    successes=0,
    average_latency_ms=None,
    declared_status=None,
    declared_metadata={},
    declared_at=None,
)


@pytest.mark.parametrize(
    ("workers", "attempts", "successes", "declared", "status"),
    [
        (1, 0, 0, None, "healthy"),
        (0, 0, 0, None, "unavailable"),
        (0, 100, 100, "healthy", "unavailable"),
        (1, 100, 49, None, "degraded"),
        (1, 100, 50, None, "healthy"),
        (1, 19, 0, None, "healthy"),
        (1, 20, 0, "healthy", "degraded"),
        (1, 0, 0, "degraded", "degraded"),
        (1, 20, 0, "unavailable", "unavailable"),
    ],
)
def test_an_arms_status_is_the_worst_of_measured_and_declared(
    workers: int, attempts: int, successes: int, declared: str | None, status: str
) -> None:
    now = replace(IDLE, workers=workers, attempts=attempts, successes=successes, declared_status=declared)

    assert status_of(now) == status

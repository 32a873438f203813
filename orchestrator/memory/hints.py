"""Publishes hints over Redis that a task has new events or has ended; a lost hint only delays its receivers."""

import redis
import structlog

from orchestrator.connections.redis_client import Availability, open_client

CHANNEL = "octollm:events"
STOP_CHANNEL = "octollm:stops"
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Hints:
    """Publishes hints, each only a task's id; receivers read the events from Postgres.

    Threads share it. While Redis is away, one hint a second is tried, so that work is not slowed down; receivers poll
    Postgres every few seconds anyway.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = open_client(redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)

    def send(self, task_id: str) -> None:
        """Announce that the task has new events. Call it after the commit that wrote them. Raises nothing."""
        self._publish(CHANNEL, task_id)

    def stop(self, task_id: str) -> None:
        """Announce that the task ended while its steps were running, so that their workers check. Raises nothing."""
        self._publish(STOP_CHANNEL, task_id)

    def _publish(self, channel: str, task_id: str) -> None:
        if not self._availability.may_try():
            return
        try:
            self._redis.publish(channel, task_id)
        except redis.RedisError as error:
            self._availability.record_failure()
            log.debug("hint.lost", task_id=task_id, error=type(error).__name__)
        else:
            self._availability.record_success()

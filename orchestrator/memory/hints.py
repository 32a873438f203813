"""Owns the hints about tasks, of new events and of an end: sent after the commit, never waited for, free to be lost."""

import redis
import structlog

from orchestrator.connections.redis_client import Availability, open_client

CHANNEL = "octollm:events"
STOP_CHANNEL = "octollm:stops"
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Hints:
    """Sends hints: the id of a task, no more. Where its events go on, whoever listens knows best.

    Threads share it. While Redis does not answer, only one hint a second is tried: work does not wait for those who
    watch it, and they ask Postgres every few seconds anyway.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = open_client(redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)

    def send(self, task_id: str) -> None:
        """Say that the task has new events; call it after the commit that made them. Raises nothing."""
        self._publish(CHANNEL, task_id)

    def stop(self, task_id: str) -> None:
        """Say that the task ended while steps of it ran, so that their workers ask. Raises nothing."""
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

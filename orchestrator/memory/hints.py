"""Publishes hints over Redis that a task has new events or has ended; a lost hint only delays its receivers.

The progress of a model's answer is published too, and stored nowhere.
"""

import json
from collections.abc import Mapping
from typing import Any

import redis
import structlog

from orchestrator.connections.redis_client import Availability, open_client

CHANNEL = "octollm:events"
STOP_CHANNEL = "octollm:stops"
PROGRESS_CHANNEL = "octollm:progress"
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
        # an older ACL of Redis may refuse progress: that must not hold up the hints
        self._progress_availability = Availability(pause_seconds=_PAUSE_SECONDS)

    def send(self, task_id: str) -> None:
        """Announce that the task has new events. Call it after the commit that wrote them. Raises nothing."""
        self._publish(CHANNEL, task_id, self._availability)

    def show(self, task_id: str, progress: Mapping[str, Any]) -> None:
        """Send a transient event, which has no number, to those who watch the task now. Raises nothing."""
        message = f"{task_id}\n{json.dumps(progress, ensure_ascii=False)}"
        self._publish(PROGRESS_CHANNEL, message, self._progress_availability)

    def stop(self, task_id: str) -> None:
        """Announce that the task ended while its steps were running, so that their workers check. Raises nothing."""
        self._publish(STOP_CHANNEL, task_id, self._availability)

    def _publish(self, channel: str, message: str, availability: Availability) -> None:
        if not availability.may_try():
            return
        try:
            self._redis.publish(channel, message.encode("utf-8", "replace"))
        except redis.RedisError as error:
            availability.record_failure()
            log.debug("hint.lost", channel=channel, error=type(error).__name__)
        else:
            availability.record_success()

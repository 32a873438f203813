"""Publishes hints over Redis that a task has new events or has ended; a late hint only delays its receivers.

The progress of a model's answer is published too, and stored nowhere.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
import structlog

from orchestrator.connections.redis_client import Availability, open_client
from orchestrator.process.loop import Loop, Pace

CHANNEL = "octollm:events"
STOP_CHANNEL = "octollm:stops"
PROGRESS_CHANNEL = "octollm:progress"
END_PREFIX: Final = "end:"
"""Precedes the id of a task that has ended; for those who wait for that only."""
GATHER_SECONDS: Final = 0.02
MAX_UNSENT: Final = 10_000
"""How many hints are kept for a Redis that is away; more are lost, and their receivers poll."""
_IDLE_SECONDS: Final = 60.0
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Hints:
    """Publishes hints, each only a task's id; receivers read the events from Postgres.

    Threads share it. Hints of new events are gathered for GATHER_SECONDS and sent together, one a task; an end and a
    stop are sent at once. While Redis is away, nobody waits for it: hints are kept, and sent once it answers, which is
    tried once a second. Receivers poll Postgres every few seconds anyway.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = open_client(redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)
        # an older ACL of Redis may refuse progress: that must not hold up the hints
        self._progress_availability = Availability(pause_seconds=_PAUSE_SECONDS)
        # keys in the order in which they came: (channel, text)
        self._gathered: dict[tuple[str, str], None] = {}
        self._has_gathered = threading.Event()
        self._lock = threading.Lock()
        # the thread starts with the first hint, so that a forked child has its own
        self._loop = Loop(
            "hints-sender", self._send_gathered, pace=Pace(longest_pause_seconds=_PAUSE_SECONDS)
        )

    def send(self, task_id: str) -> None:
        """Announce soon that the task has new events. Call it after the commit that wrote them. Raises nothing."""
        self._gather([(CHANNEL, task_id)])

    def end(self, *task_ids: str) -> None:
        """Announce at once that tasks have ended, with all that was gathered. Raises nothing."""
        own = [*((CHANNEL, task_id) for task_id in task_ids)]
        ends = [*((CHANNEL, END_PREFIX + task_id) for task_id in task_ids)]
        self._publish([*dict.fromkeys([*own, *self._taken(), *ends])])

    def stop(self, task_id: str) -> None:
        """Announce at once that the task ended while its steps were running: their workers check. Raises nothing."""
        self._publish([(STOP_CHANNEL, task_id)])

    def show(self, task_id: str, progress: Mapping[str, Any]) -> None:
        """Send a transient event, which has no number, to those who watch the task now. Raises nothing."""
        message = f"{task_id}\n{json.dumps(progress, ensure_ascii=False)}".encode("utf-8", "replace")
        if not self._progress_availability.may_try():
            return
        try:
            self._redis.publish(PROGRESS_CHANNEL, message)
        except redis.RedisError as error:
            self._progress_availability.record_failure()
            log.debug("progress.lost", task_id=task_id, error=type(error).__name__)
        else:
            self._progress_availability.record_success()

    def _send_gathered(self) -> None:
        if self._has_gathered.wait(_IDLE_SECONDS):
            time.sleep(GATHER_SECONDS)
            if not self._publish(self._taken()):
                time.sleep(_PAUSE_SECONDS)

    def _gather(self, hints: Sequence[tuple[str, str]]) -> None:
        with self._lock:
            self._gathered |= dict.fromkeys(hints[: max(0, MAX_UNSENT - len(self._gathered))])
        self._has_gathered.set()
        self._loop.start()

    def _taken(self) -> list[tuple[str, str]]:
        with self._lock:
            taken, self._gathered = self._gathered, {}
            self._has_gathered.clear()
        return [*taken]

    def _publish(self, hints: Sequence[tuple[str, str]]) -> bool:
        """Send the hints; keep them for later and return False if Redis is away."""
        if not hints:
            return True
        if self._availability.may_try():
            try:
                with self._redis.pipeline(transaction=False) as pipe:
                    for channel, text in hints:
                        pipe.publish(channel, text)
                    pipe.execute()
            except redis.RedisError as error:
                self._availability.record_failure()
                log.debug("hints.delayed", hints=len(hints), error=type(error).__name__)
            else:
                self._availability.record_success()
                return True
        self._gather(hints)
        return False

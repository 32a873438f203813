"""Listens for tasks that ended elsewhere, so that their attempts in this process stop at once."""

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.connections.redis_client import open_subscriber
from orchestrator.memory.hints import STOP_CHANNEL
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace
from workers.runtime.heartbeat import Leases

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 1.0
_LISTEN_SECONDS = 5.0


class Interrupts:
    """One subscription a process, held by a thread that starts with the process' first lease.

    A hint stops nothing by itself: it has the leases renewed now, and Postgres says which of them have ended. What
    is missed while Redis is away, the next heartbeat finds.
    """

    def __init__(self, redis_url: str, leases: Leases) -> None:
        self._leases = leases
        self._redis = open_subscriber(redis_url)
        self._loop = Loop(
            "interrupts",
            self._listen,
            pace=Pace(longest_pause_seconds=_PAUSE_SECONDS),
            away=(redis.RedisError,),
            failed=metric.thread_failed,
        )

    def ensure_listening(self) -> None:
        """Start to listen, once a process: a forked child has no thread of its parent's."""
        self._loop.start()

    def stop(self) -> None:
        """Listen no more once the connection ends."""
        self._loop.stop()

    def _listen(self) -> None:
        with self._redis.pubsub() as subscription:  # type: ignore[no-untyped-call]  # theirs
            subscription.subscribe(STOP_CHANNEL)
            while True:
                message = subscription.get_message(timeout=_LISTEN_SECONDS)
                self._loop.succeed()
                if message is None or message["type"] not in {"subscribe", "message"}:
                    continue
                # the first one confirms the subscription: an end told before it was not heard
                if message["type"] == "subscribe" or self._leases.has_task(message["data"].decode()):
                    self._ask_postgres()

    def _ask_postgres(self) -> None:
        try:
            self._leases.beat()
        except SQLAlchemyError as error:
            log.warning("interrupts.database_away", error=type(error).__name__)

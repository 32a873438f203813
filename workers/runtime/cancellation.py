"""Listens for tasks that ended elsewhere, so that their attempts in this process stop at once."""

import redis

from orchestrator.connections.redis_client import open_subscriber
from orchestrator.memory.hints import STOP_CHANNEL
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace
from workers.runtime.heartbeat import Leases

_MAX_PAUSE_SECONDS = 1.0
_RECEIVE_TIMEOUT_SECONDS = 5.0


class CancellationListener:
    """One Redis subscription of the process, in a thread that starts with the first lease.

    A hint only causes the leases to be renewed at once; Postgres decides which of them have ended. The next heartbeat
    finds what was missed while Redis was away.
    """

    def __init__(self, redis_url: str, leases: Leases) -> None:
        self._leases = leases
        self._redis = open_subscriber(redis_url)
        self._loop = Loop(
            "interrupts",
            self._listen,
            pace=Pace(longest_pause_seconds=_MAX_PAUSE_SECONDS),
            away=(redis.RedisError,),
            failed=metric.thread_failed,
        )

    def ensure_listening(self) -> None:
        """Start the thread once a process: a forked child does not inherit its parent's threads."""
        self._loop.start()

    def stop(self) -> None:
        """Stop listening when the connection ends."""
        self._loop.stop()

    def _listen(self) -> None:
        with self._redis.pubsub() as subscription:  # type: ignore[no-untyped-call]  # theirs
            subscription.subscribe(STOP_CHANNEL)
            while True:
                message = subscription.get_message(timeout=_RECEIVE_TIMEOUT_SECONDS)
                self._loop.succeed()
                if message is None or message["type"] not in {"subscribe", "message"}:
                    continue
                # hints sent before the subscription was confirmed were missed
                if message["type"] == "subscribe" or self._leases.hear_end(message["data"].decode()):
                    self._leases.beat_now()

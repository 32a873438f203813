"""The Celery transport for Redis: survives a server that refuses writes, and drops foreign messages.

Workers wait for a server that refuses writes as for one that is away. Kombu raises at a message that it can't read,
which ends the worker; this transport drops such a message and logs it.
"""

from collections.abc import Callable, Collection
from functools import partial
from queue import Empty
from typing import Any, Final

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import RedisError, ResponseError

from orchestrator.connections import redis_client
from orchestrator.queue import message_validation

_OURS: Final = f"{__name__}:Transport"

log = structlog.get_logger(__name__)


class Unwritable(redis.get_redis_ConnectionError()):  # type: ignore[misc]  # kombu's way to redis-py's class
    """Redis answers but refuses writes."""


class QoS(redis.QoS):
    """The messages that a consumer has taken and not yet acknowledged, at most one for each slot."""

    # kombu's own, which celery-types lacks
    channel: Any
    _remove_from_indices: Any

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; frees its slot even when Redis is away, or the slot would stay taken for ever.

        Redis then delivers the message again after the visibility timeout, and its row shows that it is done.
        """
        self._free(delivery_tag, super().ack)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return a message to its queue or drop it; frees the slot like `ack`. The sweeper publishes the row again."""
        self._free(delivery_tag, partial(super().reject, requeue=requeue))

    def _free(self, delivery_tag: str, notify: Callable[[str], object]) -> None:
        try:
            notify(delivery_tag)
        except RedisError as error:
            log.warning("broker.not_acknowledged", fault=redis_client.fault_of(error))
            super(redis.QoS, self).ack(delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Return a dead consumer's message to its queue; drop one that can't be read, or it would stay for ever."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except self.channel.connection_errors:
            raise
        except Exception:
            log.warning("broker.message_dropped", queue=self.unacked_key, reason="it can't be read")
            with self.channel.conn_or_acquire(client) as broker, broker.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()


class Channel(redis.Channel):
    """A channel that uses our QoS and delivers only messages of ours."""

    QoS = QoS
    # kombu's own, which celery-types lacks
    connection: Any
    connection_errors: tuple[type[Exception], ...]
    _queue_cycle: Any
    _flush_brpop_reauth: Any

    def _brpop_read(self, **options: Any) -> bool:
        """Read one message and deliver it, as kombu's method does; drop a foreign message."""
        try:
            try:
                found = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not found:
                raise Empty
            key, raw = found
            queue = key.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self._deliver(queue, raw)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _deliver(self, queue: str, raw: bytes) -> None:
        try:
            found = message_validation.read(raw, known_tasks=self._known_tasks)
        except ValueError as fault:
            log.warning("broker.message_dropped", queue=queue, reason=str(fault))
            return
        try:
            self.connection._deliver(found, queue)
        except self.connection_errors:
            raise
        except Exception:
            log.exception("broker.message_dropped", queue=queue, reason="Celery can't take it")
            self.qos.ack(found["properties"]["delivery_tag"])

    @property
    def _known_tasks(self) -> Collection[str]:
        """The task names that messages may have; empty allows all."""
        known: Collection[str] = self.connection.client.transport_options.get("known_tasks", ())
        return known


class Transport(redis.Transport):
    """Kombu's transport, which treats a refusal by Redis (READONLY, OOM, MISCONF) as a connection error.

    Kombu alone treats it as a programming error, which ends the worker.
    """

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def establish_connection(self) -> Any:
        """Connect and try a write, so that Celery's retry delays grow while Redis refuses writes."""
        connection = super().establish_connection()
        # kombu makes the first channel to test the connection, and keeps it for the next user
        kept: list[Any] = vars(self)["_avail_channels"]
        channel = kept[-1]
        try:
            with channel.conn_or_acquire() as client:
                redis_client.try_write(client)
        except RedisError as error:
            kept.remove(channel)
            channel.close()
            raise Unwritable(f"Redis refuses writes: {redis_client.fault_of(error)}") from error
        return connection


def install() -> None:
    """Make Celery use this transport for every spelling of a Redis URL."""
    TRANSPORT_ALIASES.update(redis=_OURS, rediss=_OURS)

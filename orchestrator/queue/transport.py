"""Celery's way to Redis: it outlives a server that takes no writes, and messages that are none of ours.

A server that takes no writes is as good as away, so workers wait for it as for a lost one. Kombu by itself raises at a
message that it can't read, at which a worker ends; here such a message is dropped with a log line.
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
    """Redis answers and takes no writes."""


class QoS(redis.QoS):
    """What a consumer has taken and not yet acknowledged: as much as its slots hold."""

    # kombu's own, which celery-types lacks
    channel: Any
    _remove_from_indices: Any

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; the slot is free again even when Redis hears nothing of it, or it stayed taken for ever.

        The message comes again after the visibility timeout, and its row says that it is done.
        """
        self._free(delivery_tag, super().ack)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back, or drop it; the slot is free again as after `ack`, and the sweeper sends the row."""
        self._free(delivery_tag, partial(super().reject, requeue=requeue))

    def _free(self, delivery_tag: str, tell: Callable[[str], object]) -> None:
        try:
            tell(delivery_tag)
        except RedisError as error:
            log.warning("broker.not_acknowledged", fault=redis_client.fault_of(error))
            super(redis.QoS, self).ack(delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give back what a dead consumer had taken; forget what can't be read there, or it would stay for ever."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except self.channel.connection_errors:
            raise
        except Exception:
            log.warning("broker.message_dropped", queue=self.unacked_key, reason="it can't be read")
            with self.channel.conn_or_acquire(client) as broker, broker.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()


class Channel(redis.Channel):
    """A channel that counts as we do, and delivers nothing but messages."""

    QoS = QoS
    # kombu's own, which celery-types lacks
    connection: Any
    connection_errors: tuple[type[Exception], ...]
    _queue_cycle: Any
    _flush_brpop_reauth: Any

    def _brpop_read(self, **options: Any) -> bool:
        """Read one message and deliver it, as kombu's method of this name does; drop what is none."""
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
        """The tasks that messages may be for; none are refused where the app names none."""
        known: Collection[str] = self.connection.client.transport_options.get("known_tasks", ())
        return known


class Transport(redis.Transport):
    """Kombu's transport, which knows an answer that refuses (READONLY, OOM, MISCONF) as a fault of the connection.

    By itself it takes such an answer for an error of ours, at which a worker ends.
    """

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def establish_connection(self) -> Any:
        """Connect, and write a little, so that Celery's pauses between its attempts grow while Redis refuses."""
        connection = super().establish_connection()
        # the first channel, made to see whether the server answers, and kept for whoever asks for one
        kept: list[Any] = vars(self)["_avail_channels"]
        channel = kept[-1]
        try:
            with channel.conn_or_acquire() as client:
                redis_client.try_write(client)
        except RedisError as error:
            kept.remove(channel)
            channel.close()
            raise Unwritable(f"Redis takes no writes: {redis_client.fault_of(error)}") from error
        return connection


def install() -> None:
    """Have Celery use this transport for Redis, however its address is written."""
    TRANSPORT_ALIASES.update(redis=_OURS, rediss=_OURS)

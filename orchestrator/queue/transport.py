"""Celery's way to Redis: a server that takes no writes is as good as away, so workers wait for it as for a lost one."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import RedisError, ResponseError

from orchestrator import redis_link

_OURS: Final = f"{__name__}:Transport"

log = structlog.get_logger(__name__)


class Unwritable(redis.get_redis_ConnectionError()):  # type: ignore[misc]  # kombu's way to redis-py's class
    """Redis answers and takes no writes."""


class QoS(redis.QoS):
    """What a consumer has taken and not yet acknowledged: as much as its slots hold."""

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
            log.warning("broker.not_acknowledged", fault=redis_link.fault_of(error))
            super(redis.QoS, self).ack(delivery_tag)


class Channel(redis.Channel):
    """A channel that counts as we do."""

    QoS = QoS


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
                redis_link.try_write(client)
        except RedisError as error:
            kept.remove(channel)
            channel.close()
            raise Unwritable(f"Redis takes no writes: {redis_link.fault_of(error)}") from error
        return connection


def install() -> None:
    """Have Celery use this transport for Redis, however its address is written."""
    TRANSPORT_ALIASES.update(redis=_OURS, rediss=_OURS)

"""The Celery transport for Redis: survives a server that refuses writes, and drops foreign messages.

Workers wait for a server that refuses writes as for one that is away. Kombu raises at a message that it can't read,
which ends the worker; this transport drops such a message and logs it.
"""

from collections.abc import Collection, Sequence
from queue import Empty
from typing import Any, Final

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils import json
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from orchestrator.connections import redis_client
from orchestrator.queue import message_validation

PRIORITY_STEPS: Final = (0, 3, 6, 9)
"""Each queue is a list for each of these priorities; 0 comes first."""
_OURS: Final = f"{__name__}:Transport"

log = structlog.get_logger(__name__)


class Unwritable(redis.get_redis_ConnectionError()):  # type: ignore[misc]  # kombu's way to redis-py's class
    """Redis answers but refuses writes."""


class QoS(redis.QoS):
    """The messages that this worker has taken and not yet finished, at most one for each slot; kept in memory only.

    Kombu keeps each message in Redis as well until it is acknowledged, which cost eight commands a message. We need no
    copy there: the row is the work, and the sweeper publishes it again when its message is lost with a killed worker.
    """

    # kombu's own, which celery-types lacks
    channel: Any
    _delivered: Any
    _flush: Any
    _remove_from_indices: Any

    append = virtual.QoS.append
    ack = virtual.QoS.ack

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Free the message's slot; with `requeue` put the message back first, to be the next of its queue."""
        if requeue and delivery_tag in self._delivered:
            self._put_back([self._delivered[delivery_tag]])
        self.ack(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put all messages back, when the worker stops or lost its connection; their rows refuse what is done."""
        self._flush()
        messages = list(self._delivered.values())
        self._delivered.clear()
        self._put_back(messages)

    def _put_back(self, messages: Sequence[Any]) -> None:
        """Put messages back; raises nothing if Redis is away: the sweeper then publishes their rows again."""
        try:
            self.channel.put_back(messages)
        except RedisError as error:
            log.warning("broker.not_put_back", messages=len(messages), fault=redis_client.fault_of(error))

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Return a message that a dead worker of an earlier release took; drop one that can't be read."""
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
    _get_message_priority: Any
    _q_for_pri: Any
    conn_or_acquire: Any
    qos: Any
    pool: Any
    _kept_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Return the channel's one client for commands, where kombu makes a new one for each message."""
        kombus: Any = super()
        if asynchronous:
            return kombus._create_client(asynchronous)
        # a channel that lost its connection gets a new pool
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = kombus._create_client()
        return self._kept_client

    def put_back(self, messages: Sequence[Any]) -> None:
        """Put taken messages back as the next ones of their queues. Raises RedisError if Redis is away."""
        if not messages:
            return
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for message in reversed(messages):
                raw = message._raw
                key = self._q_for_pri(message.delivery_info["routing_key"], self._get_message_priority(raw))
                pipe.rpush(key, json.dumps(raw))
            pipe.execute()

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


def count_waiting(client: "Redis", queues: Collection[str]) -> dict[str, int]:
    """Return how many messages wait on each queue. Raises RedisError if Redis is away."""
    with client.pipeline(transaction=False) as pipe:
        for queue in queues:
            for priority in PRIORITY_STEPS:
                pipe.llen(f"{queue}{Channel.sep}{priority}" if priority else queue)
        lengths = iter(pipe.execute())
    return {queue: sum(next(lengths) for _ in PRIORITY_STEPS) for queue in queues}


def install() -> None:
    """Make Celery use this transport for every spelling of a Redis URL."""
    TRANSPORT_ALIASES.update(redis=_OURS, rediss=_OURS)

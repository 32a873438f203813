"""Messages between Redis and a worker: none is noted in Redis while a worker has it, and unfinished ones go back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from kombu import Consumer, Message

from orchestrator.devserver.valkey import Valkey
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings

QUEUE = "planner"


class Taker:
    """A consumer of one queue, as a worker is: it takes messages and finishes them later."""

    def __init__(self, connection: Any) -> None:
        self.taken: list[Message] = []
        self._connection = connection
        self.channel = connection.channel()
        self._consumer = Consumer(
            self.channel, queues=[make_app().amqp.queues[QUEUE]], on_message=self.taken.append
        )
        self._consumer.consume()

    def take(self, count: int) -> list[str]:
        """Take that many messages more; return the ids of all that were taken."""
        until = len(self.taken) + count
        while len(self.taken) < until:
            self._connection.drain_events(timeout=10)
        return self.ids()

    def ids(self) -> list[str]:
        """Return the ids of the messages, in the order in which they were taken."""
        return [message.headers["id"] for message in self.taken]


@contextmanager
def taker(url: str) -> Iterator[Taker]:
    """Make a consumer and close its connection afterwards."""
    with make_app().connection_for_read(url) as connection:
        yield Taker(connection)


@pytest.fixture
def client(our_settings: Settings, redis_url: str) -> Iterator["redis.Redis"]:
    """The broker as an operator sees it."""
    with redis.Redis.from_url(redis_url) as found:
        yield found


def publish(url: str, *ids: str) -> None:
    """Publish a message for each id as Celery does."""
    app = make_app()
    with app.connection_for_write(url) as connection:
        for task_id in ids:
            app.send_task("tasks.plan", ("t", "$plan"), task_id=task_id, queue=QUEUE, connection=connection)


def waiting(client: "redis.Redis") -> list[str]:
    """Return the ids of the waiting messages, the next one first."""
    return [json.loads(raw)["headers"]["id"] for raw in reversed(client.lrange(QUEUE, 0, -1))]


def test_a_message_costs_one_push_and_one_pop(client: "redis.Redis", redis_url: str) -> None:
    publish(redis_url, "a", "b", "c")
    with taker(redis_url) as worker:
        client.config_resetstat()
        worker.take(3)
        for message in worker.taken:
            message.ack()
        calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}

    assert calls.pop("cmdstat_brpop") == 3
    assert not [name for name in calls if name.split("_")[1] in {"hset", "hdel", "zadd", "zrem", "multi"}]
    assert not client.exists("unacked", "unacked_index")


def test_a_message_that_is_handed_back_is_the_next_one(client: "redis.Redis", redis_url: str) -> None:
    publish(redis_url, "a", "b")
    with taker(redis_url) as worker:
        worker.take(1)

        worker.taken[0].reject(requeue=True)

        assert waiting(client) == ["a", "b"]
        assert worker.take(1) == ["a", "a"]


def test_what_a_stopped_worker_had_not_finished_goes_back_in_its_order(
    client: "redis.Redis", redis_url: str
) -> None:
    publish(redis_url, "a", "b", "c", "d")
    with taker(redis_url) as worker:
        worker.take(3)
        worker.taken[1].ack()

        worker.channel.close()

        assert waiting(client) == ["a", "c", "d"]


def test_a_worker_stops_although_redis_is_away(our_settings: Settings, own_redis: Valkey) -> None:
    publish(own_redis.url, "a")
    with taker(own_redis.url) as worker:
        worker.take(1)
        own_redis.stop()

        worker.channel.close()

        worker.taken[0].ack()
        own_redis.start()


def test_a_message_that_an_earlier_release_took_and_lost_comes_back(
    client: "redis.Redis", redis_url: str
) -> None:
    publish(redis_url, "a")
    raw: Any = client.rpop(QUEUE)
    client.hset("unacked", "its-tag", json.dumps([json.loads(raw), "", QUEUE]))
    client.zadd("unacked_index", {"its-tag": 1})

    with taker(redis_url) as worker:
        # as each worker does when it starts, and from time to time
        worker.channel.qos.restore_visible()

        assert worker.take(1) == ["a"]
    assert not client.exists("unacked", "unacked_index")

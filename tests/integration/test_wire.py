"""Messages sent together are, byte for byte, the messages that Celery itself would send."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery, Signature, Task
from celery._state import _task_stack  # type: ignore[attr-defined]  # the stubs leave it out
from celery.signals import after_task_publish

from orchestrator.chord import outbox
from orchestrator.memory.steps import StepMessage
from orchestrator.memory.webhooks import DeliveryLease
from orchestrator.queue import canvas
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from workers.tasks import app as workers_app

_TAG = re.compile(rb'"delivery_tag": "[0-9a-f-]{36}"')
STEP = StepMessage(
    id="0f16aa95-8240-5cff-9fef-c91615819451",
    task_id="task_0VcHt4RNPvOfbr62",
    name="s1",
    kind="step",
    arm="executor",
    queue="arm.executor",
    priority=6,
    chord_id="c-1",
    round=1,
    spec={"action": "wait", "timeout_seconds": None},
)


class Plain(Task[Any, Any]):
    """A task of an application that knows nothing of plans."""

    name = "wire.plain"

    def run(self, *_: Any) -> None:
        """Do nothing."""


class Own(Plain):
    """A task with options of its own."""

    name = "wire.own"
    expires = 60


@pytest.fixture
def client(our_settings: Settings, redis_url: str) -> Iterator["redis.Redis"]:
    """The broker as an operator sees it."""
    with redis.Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """An application of its own, on Celery's transport."""
    made = Celery("wire", broker=redis_url, set_as_current=False)
    made.register_task(Plain())
    made.register_task(Own())
    yield made
    made.close()


def step(app: Celery) -> "Signature[Any]":
    return canvas.signature(app, STEP)


def judge(app: Celery) -> "Signature[Any]":
    """A chord's body as the backend reads it."""
    return app.signature(dict(step(app), task="tasks.judge", args=["task_1", "$judge"]))


def webhook(app: Celery) -> "Signature[Any]":
    ticket = DeliveryLease("task_1", 7, 2)
    return app.signature(
        "tasks.webhook", args=tuple(ticket), immutable=True, task_id="task_1:7:2", queue="webhook"
    )


def odd_arguments(app: Celery) -> "Signature[Any]":
    words = ('it\'s \\ "so"', "ü\n", "x" * 5000, None, 1.5, {"a": [True]})
    return app.signature("wire.plain", args=words, immutable=True, task_id="odd", queue="q", priority=9)


def options_of_its_own(app: Celery) -> "Signature[Any]":
    return app.signature("wire.own", args=(1,), immutable=True, task_id="own", queue="q")


def keyword_arguments(app: Celery) -> "Signature[Any]":
    return app.signature("wire.plain", kwargs={"a": 1}, immutable=True, task_id="k", queue="q")


def raw(client: "redis.Redis") -> dict[str, list[bytes]]:
    """Take all messages: {list: messages}; the random tag is replaced."""
    keys: list[bytes] = list(client.scan_iter(_type="list"))
    lists: dict[str, Any] = {key.decode(): client.lrange(key.decode(), 0, -1) for key in keys}
    client.flushdb()
    return {key: [_TAG.sub(b'"delivery_tag": "-"', text) for text in texts] for key, texts in lists.items()}


def calls(client: "redis.Redis", command: str) -> int:
    stats = client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})
    return int(stats["calls"])


ALL = (step, judge, webhook, odd_arguments)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("name", ["api", "workers", "other"])
def test_a_message_has_the_bytes_of_celerys(
    client: "redis.Redis", app: Celery, name: str, make: Callable[[Celery], "Signature[Any]"]
) -> None:
    sender = {"api": make_app(), "workers": workers_app, "other": app}[name]
    made = make(sender)
    made.apply_async(add_to_parent=False)
    celerys = raw(client)

    client.config_resetstat()
    outbox.publish_all(sender, [made])

    assert calls(client, "sadd") == 0, "Celery itself published it"
    assert raw(client) == celerys
    assert len(celerys) == 1


def test_a_message_names_the_task_that_sent_it(client: "redis.Redis") -> None:
    parent = workers_app.tasks["tasks.plan"]
    parent.push_request(id="parent", root_id="root", called_directly=False)
    _task_stack.push(parent)
    try:
        step(workers_app).apply_async(add_to_parent=False)
        celerys = raw(client)
        outbox.publish_all(workers_app, [step(workers_app)])
    finally:
        _task_stack.pop()
        parent.pop_request()

    ours = raw(client)
    assert ours == celerys
    assert b'"root_id": "root", "parent_id": "parent"' in ours["arm.executor\x06\x166"][0]


def test_the_messages_of_a_commit_are_one_command_a_list(client: "redis.Redis") -> None:
    made = [step(workers_app).set(task_id=str(number), priority=number % 2 * 6) for number in range(8)]
    outbox.publish_all(workers_app, made[:1])
    raw(client)
    client.config_resetstat()

    outbox.publish_all(workers_app, made)

    assert calls(client, "lpush") == 2
    assert {key: len(texts) for key, texts in raw(client).items()} == {
        "arm.executor": 4,
        "arm.executor\x06\x166": 4,
    }


def test_messages_go_by_one_client_until_its_channel_reconnects(client: "redis.Redis", app: Celery) -> None:
    with app.producer_or_acquire() as producer:
        channel: Any = producer.channel
        clients = []
        for pause in (lambda: None, lambda: None, channel._disconnect_pools):
            pause()
            outbox.publish_all(app, [odd_arguments(app)])
            with channel.conn_or_acquire() as used:
                clients.append(used)

    assert clients[0] is clients[1]
    assert clients[2] is not clients[1]
    assert sum(len(texts) for texts in raw(client).values()) == 3


def test_an_immutable_body_is_sent_as_celery_sends_it(client: "redis.Redis", app: Celery) -> None:
    made = judge(workers_app)
    made.delay([None])
    celerys = raw(client)

    outbox.publish_one(workers_app, made)

    assert raw(client) == celerys


@pytest.mark.parametrize("make", [options_of_its_own, keyword_arguments])
def test_celery_publishes_what_is_not_plain(
    client: "redis.Redis", app: Celery, make: Callable[[Celery], "Signature[Any]"]
) -> None:
    outbox.publish_all(app, [make(app)])

    assert b'"expires": "' in raw(client)["q"][0] or make is keyword_arguments


def test_celery_publishes_when_someone_listens(client: "redis.Redis", app: Celery) -> None:
    told: list[str] = []

    def listen(headers: Any, **_: Any) -> None:
        told.append(headers["id"])

    after_task_publish.connect(listen)
    try:
        outbox.publish_all(app, [odd_arguments(app)])
    finally:
        after_task_publish.disconnect(listen)

    assert told == ["odd"]


def test_celery_publishes_when_its_events_tell_of_sent_tasks(client: "redis.Redis", app: Celery) -> None:
    app.conf.task_send_sent_event = True
    with client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # theirs
        heard.psubscribe("*celeryev/task.sent")
        heard.get_message(timeout=5)

        outbox.publish_all(app, [odd_arguments(app)])

        assert heard.get_message(timeout=5) is not None


def test_celery_publishes_to_other_brokers(our_settings: Settings) -> None:
    with Celery("wire", broker="memory://", set_as_current=False) as app:
        outbox.publish_all(app, [odd_arguments(app)])

        with app.connection_for_read() as connection, connection.channel() as opened:
            channel: Any = opened
            message = channel.basic_get("q", no_ack=True)
    assert message is not None
    assert message.headers["id"] == "odd"

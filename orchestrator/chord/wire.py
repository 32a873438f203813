"""Sends immutable signatures to Redis as the messages that Celery itself would send, all of them in one command a list.

Celery builds a producer's call for each message, which costs about 1 ms. Here a message is one dictionary in Celery's
protocol 2 inside kombu's envelope for Redis. What is not plain, and what someone listens to, is left to Celery.
"""

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

from celery import Celery, Signature, Task
from celery.signals import after_task_publish, before_task_publish, task_sent
from celery.utils.nodenames import anon_nodename
from celery.utils.saferepr import saferepr
from kombu.exceptions import OperationalError
from kombu.utils import json
from kombu.utils.uuid import uuid

_OPTIONS: Final = frozenset({"task_id", "queue", "priority", "time_limit", "shadow", "group_id"})
_SIGNALS: Final = (before_task_publish, after_task_publish, task_sent)
_PLAIN_SETTINGS: Final = {
    "task_always_eager": (False, None),
    "task_compression": (None,),
    "task_default_delivery_mode": (2, "persistent"),
    "task_inherit_parent_priority": (False, None),
    "task_protocol": (2,),
    "task_routes": (None,),
    "task_send_sent_event": (False, None),
    "task_serializer": ("json",),
}
_PLAIN_TEXT: Final = re.compile(r"[A-Za-z0-9_.:@$ -]{0,100}")
_SHORT: Final = 4
_APPLY_ASYNC: Final = Task.apply_async


def can_send(app: Celery, producer: Any, signatures: Sequence["Signature[Any]"]) -> bool:
    """Return whether `send` sends what Celery would send; False for other brokers, and if a signal has receivers."""
    return (
        producer.connection.transport.driver_type == "redis"
        and type(app).send_task is Celery.send_task
        and not any(signal.receivers for signal in _SIGNALS)
        and _has_plain_settings(app)
        and all(_is_plain(app, one) for one in signatures)
    )


def send(app: Celery, producer: Any, signatures: Sequence["Signature[Any]"]) -> None:
    """Send all signatures in one round trip. Raises OperationalError if the broker does not take them.

    Some may have been sent in that case.
    """
    connection = producer.connection
    try:
        channel = producer.channel
        lists: dict[str, list[str]] = {}
        for message in _messages(app, signatures):
            queue = message["properties"]["delivery_info"]["routing_key"]
            key = channel._q_for_pri(queue, channel._get_message_priority(message))
            lists.setdefault(key, []).append(json.dumps(message))
        with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for key, texts in lists.items():
                pipe.lpush(key, *texts)
            pipe.execute()
    except (*connection.connection_errors, *connection.channel_errors) as error:
        raise OperationalError(str(error)) from error


def _has_plain_settings(app: Celery) -> bool:
    """Return whether the app's settings, as they are at its first message, change nothing about its messages."""
    known: bool | None = vars(app).get("octollm_plain")
    if known is None:
        known = all(app.conf.get(name) in plain for name, plain in _PLAIN_SETTINGS.items())
        vars(app)["octollm_plain"] = known
    return known


def _is_plain(app: Celery, signature: "Signature[Any]") -> bool:
    options = signature.options
    if type(signature) is not Signature or not signature.immutable or signature.kwargs:
        return False
    if not (options.keys() <= _OPTIONS and "task_id" in options and isinstance(options.get("queue"), str)):
        return False
    queue: Any = app.amqp.queues[options["queue"]]
    exchange = queue.exchange
    if exchange.type != "direct" or exchange.delivery_mode not in (None, 2) or queue.expires is not None:
        return False
    return _is_plain_task(app.tasks.get(str(signature.task)), options)


def _is_plain_task(task: Any, options: dict[str, Any]) -> bool:
    """Return whether a task adds nothing of its own to a message with these options."""
    if task is None:
        return True
    kind = type(task)
    # tracing libraries replace Celery's own method to add their headers
    if kind.apply_async is not _APPLY_ASYNC or kind.shadow_name is not Task.shadow_name:
        return False
    own = {name for name, value in task._get_exec_options().items() if value is not None}
    return task.serializer == "json" and own - options.keys() <= {"serializer"}


def _messages(app: Celery, signatures: Sequence["Signature[Any]"]) -> list[dict[str, Any]]:
    """Return the messages with the headers of Celery's `as_task_v2`, in the same order."""
    root_id = parent_id = None
    if parent := app.current_worker_task:
        root_id, parent_id = parent.request.root_id or parent.request.id, parent.request.id
    origin, reply_to = anon_nodename(), app.thread_oid
    messages = []
    for one in signatures:
        options, task = one.options, app.tasks.get(str(one.task))
        headers = {
            "lang": "py",
            "task": one.task,
            "id": options["task_id"],
            "shadow": options.get("shadow"),
            "eta": None,
            "expires": None,
            "group": options.get("group_id"),
            "group_index": None,
            "retries": 0,
            "timelimit": [options.get("time_limit"), None],
            "root_id": root_id or options["task_id"],
            "parent_id": parent_id,
            "argsrepr": _shown(app, one.args),
            "kwargsrepr": "{}",
            "origin": origin,
            "ignore_result": task.ignore_result if task is not None else None,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
        messages.append(_envelope(one.args, headers, options, reply_to=reply_to))
    return messages


def _envelope(
    args: Any, headers: dict[str, Any], options: dict[str, Any], *, reply_to: str
) -> dict[str, Any]:
    """Return a message as kombu writes it to a list of Redis."""
    body = json.dumps((args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}))
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": options["task_id"],
            "reply_to": reply_to,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": options["queue"]},
            "priority": options.get("priority") or 0,
            "body_encoding": "base64",
            "delivery_tag": uuid(),
        },
    }


def _shown(app: Celery, args: Any) -> str:
    """Return what Celery shows of the arguments; its own `saferepr` is slow, and adds nothing to short plain ones."""
    if len(args) <= _SHORT and all(
        isinstance(one, int) or (isinstance(one, str) and _PLAIN_TEXT.fullmatch(one)) for one in args
    ):
        return repr(args)
    return str(saferepr(args, app.amqp.argsrepr_maxsize, maxlevels=app.conf.task_repr_maxlevels))

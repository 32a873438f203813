"""Publishes the messages a commit made due. The rows are the outbox: what could not be sent is sent later from them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
from celery import Celery, Signature
from kombu.exceptions import LimitExceeded, OperationalError

from orchestrator.chord import wire
from orchestrator.connections.redis_client import Availability
from orchestrator.process.loop import Loop, Pace

REFIRE_SECONDS: Final = 1.0
PUBLISH_SECONDS: Final = 1.0
"""How long publishing may take after one commit; it ends at once when the broker is away."""

RETRY: Final = {"max_retries": 0}
"""No retries: a connection that a restarted broker closed is replaced before use, and what fails is sent when due."""

JOINS_ONLY: Final = "octollm_joins_only"
"""Option of a signature that joins its chord now and is published later, when its row may be claimed."""

_PAUSE_SECONDS: Final = 1.0
_BROKER_AWAY: Final = (OperationalError, LimitExceeded, OSError)

log = structlog.get_logger(__name__)


def publish_all(app: Celery, signatures: Sequence["Signature[Any]"]) -> None:
    """Publish signatures, each with its own task id, queue and priority; together where they are plain (see wire).

    Raises nothing: the outcome is committed, and a failure here must not turn it into a failed task.
    """
    unsent = [one for one in signatures if not one.options.get(JOINS_ONLY)]
    if not unsent:
        return
    broker = _availability(app)
    try:
        with app.producer_or_acquire() as producer:
            fault = _send(app, producer, unsent, broker=broker)
    except _BROKER_AWAY as error:
        broker.record_failure()
        fault = repr(error)
    except Exception as error:
        fault = repr(error)
    if unsent:
        log.warning("chord.publish_failed", error=fault, task_ids=[one.id for one in unsent])


def publish_one(app: Celery, signature: "Signature[Any]") -> None:
    """Publish one immutable signature; raises what Celery raises."""
    with app.producer_or_acquire() as producer:
        if wire.can_send(app, producer, [signature]):
            _send_together(app, producer, [signature])
        else:
            signature.apply_async(producer=producer)


def _send(app: Celery, producer: Any, unsent: list["Signature[Any]"], *, broker: Availability) -> str:
    """Send signatures and remove them from `unsent`; return why some are left."""
    until = time.monotonic() + PUBLISH_SECONDS
    together = wire.can_send(app, producer, unsent)
    while unsent:
        # another thread may have recorded a failure while this one waited for a producer
        if not broker.may_try():
            return "the broker is away"
        if time.monotonic() >= until:
            return "out of time"
        if together:
            _send_together(app, producer, unsent)
            unsent.clear()
        else:
            unsent[0].apply_async(producer=producer, add_to_parent=False, retry_policy=RETRY)
            del unsent[0]
        broker.record_success()
    return ""


def _send_together(app: Celery, producer: Any, signatures: Sequence["Signature[Any]"]) -> None:
    # Celery sets this too, before the producer connects
    producer.connection.transport_options.update(RETRY)
    wire.send(app, producer, signatures)


class BrokerAway(Exception):
    """The broker accepts no messages at the moment."""


@contextmanager
def broker_needed(app: Celery, task_id: str | None) -> Iterator[None]:
    """Raise BrokerAway if the broker does not accept the block's messages; a body that is not sent stays ready.

    Other errors, such as values that can't be encoded, pass through: trying again would not help.
    """
    broker = _availability(app)
    if not broker.may_try():
        raise BrokerAway("the broker is away")
    try:
        yield
    except _BROKER_AWAY as error:
        broker.record_failure()
        log.warning("chord.publish_failed", error=repr(error), task_ids=[task_id])
        raise BrokerAway(str(error)) from error
    broker.record_success()


def start_refiring(fire_ready: Callable[[], int]) -> None:
    """Call `fire_ready` once a second, in a thread, for applications without a sweeper.

    It publishes bodies that a crash left ready.
    """

    def refire() -> None:
        fired = fire_ready()
        if fired:
            log.warning("chord.refired", chords=fired)

    Loop("octollm-refire", refire, pace=Pace(REFIRE_SECONDS)).start()


def _availability(app: Celery) -> Availability:
    """Return the availability of the app's broker, as this process saw it; after a failure one try a second."""
    known: Availability = vars(app).setdefault("octollm_broker", Availability(pause_seconds=_PAUSE_SECONDS))
    return known

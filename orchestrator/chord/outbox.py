"""Publishes the messages a commit made due. The rows are the outbox: what could not be sent is sent later from them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
from celery import Celery, Signature
from kombu.exceptions import LimitExceeded, OperationalError

from orchestrator.connections.redis_client import Availability
from orchestrator.process.loop import Loop, Pace

REFIRE_SECONDS: Final = 1.0
PUBLISH_SECONDS: Final = 1.0
"""How long publishing may take after one commit; it ends at once when the broker is away."""

RETRY: Final = {"max_retries": 0}
"""No retries: a connection that a restarted broker closed is replaced before use, and what fails is sent when due."""

_PAUSE_SECONDS: Final = 1.0
_BROKER_AWAY: Final = (OperationalError, LimitExceeded, OSError)

log = structlog.get_logger(__name__)


def publish_all(app: Celery, signatures: Sequence["Signature[Any]"]) -> None:
    """Publish signatures, each with its own task id, queue and priority.

    Raises nothing: the outcome is committed, and a failure here must not turn it into a failed task.
    """
    unsent = list(signatures)
    broker = _availability(app)
    until = time.monotonic() + PUBLISH_SECONDS
    fault = "out of time"
    try:
        with app.producer_or_acquire() as producer:
            while unsent and time.monotonic() < until:
                # another thread may have recorded a failure while this one waited for a producer
                if not broker.may_try():
                    fault = "the broker is away"
                    break
                unsent[0].apply_async(producer=producer, add_to_parent=False, retry_policy=RETRY)
                broker.record_success()
                del unsent[0]
    except _BROKER_AWAY as error:
        broker.record_failure()
        fault = repr(error)
    except Exception as error:
        fault = repr(error)
    if unsent:
        log.warning("chord.publish_failed", error=fault, task_ids=[one.id for one in unsent])


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

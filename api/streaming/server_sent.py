"""Sends a task's events as server-sent events (WHATWG HTML, 9.2): waits for them, pings, and ends the stream."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog
from flask import Response
from sqlalchemy.exc import SQLAlchemyError

from api.schemas.responses import EVENT_STREAM
from api.streaming.admission import AccessRecheck
from api.streaming.event_buffer import Frame
from api.streaming.hub import Subscription, TooSlow
from orchestrator.auth.credential import Principal
from orchestrator.models.errors import Forbidden, InvalidCredential

Encode = Callable[[Sequence[Frame]], Iterable[str]]
_PING_SECONDS = 15.0

log = structlog.get_logger(__name__)


def respond(
    principal: Principal,
    subscription: Subscription,
    wakeup: threading.Event,
    encode: Encode,
    *,
    head: str = "",
) -> Response:
    """Return the stream of a subscription whose callback sets `wakeup`; it closes the subscription.

    `encode` returns the texts, none of them empty, for the frames that are new; it may raise SQLAlchemyError, which
    cuts the stream off. `head` is sent first.
    """
    recheck = AccessRecheck(principal, "task:read")
    response = Response(_texts(subscription, wakeup, recheck, encode, head), content_type=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(subscription.close)
    return response


def _texts(
    subscription: Subscription, wakeup: threading.Event, recheck: AccessRecheck, encode: Encode, head: str
) -> Iterator[str]:
    """Yield the events until the last one, a restart, or the end of the caller's access."""
    if head:
        yield head
    while True:
        is_idle = True
        try:
            recheck.require()
            for text in encode(subscription.next_frames()):
                is_idle = False
                yield text
        except (InvalidCredential, Forbidden):
            return
        except (TooSlow, SQLAlchemyError) as error:
            log.warning("stream.cut", error=type(error).__name__)
            return
        if subscription.end is not None:
            return
        if is_idle and not wakeup.wait(min(_PING_SECONDS, recheck.seconds_left)):
            yield ": ping\n\n"
        wakeup.clear()

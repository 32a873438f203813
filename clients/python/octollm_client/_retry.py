"""When to send a request again, and after how long."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from octollm_client.errors import ApiError, ConnectionFailed

if TYPE_CHECKING:
    from octollm_client._call import Call
    from octollm_client.errors import OctollmError

# what a proxy answers for a server that is away; our own server says in the problem whether a retry can help
_AWAY = (502, 503, 504)


class RetryPolicy(NamedTuple):
    """At most `max_retries` retries of a call, and `max_seconds` of pauses between them.

    A pause is what Retry-After says, else doubles from `first_pause` to `longest_pause` (seconds), less up to half of
    it by chance, so that clients don't come back all at once.
    """

    max_retries: int = 6
    max_seconds: float = 90.0
    first_pause: float = 0.5
    longest_pause: float = 8.0

    def pause(self, error: OctollmError, call: Call, *, retries: int, spent: float) -> float | None:
        """Return how long to wait before `call` is sent again; None if it must not be, or the limits are reached.

        `retries` were made and `spent` seconds were paused before.
        """
        if retries >= self.max_retries or not may_repeat(error, call):
            return None
        asked = error.retry_after if isinstance(error, ApiError) else None
        seconds = asked or self.backoff(retries)
        return seconds if spent + seconds <= self.max_seconds else None

    def backoff(self, retries: int) -> float:
        """Return the pause after so many retries without an advice of the server."""
        most = min(self.first_pause * float(1 << min(retries, 20)), self.longest_pause)
        return most * (0.5 + int.from_bytes(os.urandom(2), "big") / 131_072)


def may_repeat(error: OctollmError, call: Call) -> bool:
    """Say whether sending `call` again can help and can do no harm."""
    if isinstance(error, ConnectionFailed):
        return call.is_idempotent or not error.was_sent
    if not isinstance(error, ApiError):
        return False
    if error.is_problem:
        # such a server refused the request before it did something
        return error.retryable
    return error.status == 429 or (error.status in _AWAY and call.is_idempotent)

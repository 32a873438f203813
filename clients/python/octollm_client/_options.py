"""The options of both clients, from arguments and the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from octollm_client._retry import RetryPolicy
from octollm_client._session import DEFAULT_URL, Session
from octollm_client.errors import ConnectionFailed

if TYPE_CHECKING:
    import httpx2

    from octollm_client._call import Send

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECT_SECONDS = 10.0


def session_of(
    url: str | None, *, api_key: str | None, token: str | None, timeout: float, retry: RetryPolicy | None
) -> Session:
    """Return a session; what is not given is OCTOLLM_URL, OCTOLLM_API_KEY and OCTOLLM_TOKEN of the environment."""
    if api_key is None and token is None:
        api_key = os.environ.get("OCTOLLM_API_KEY") or None
        token = None if api_key else os.environ.get("OCTOLLM_TOKEN") or None
    address = url or os.environ.get("OCTOLLM_URL") or DEFAULT_URL
    return Session(address, api_key=api_key, token=token, retry=retry or RetryPolicy(), timeout=timeout)


def uses_proxies(url: str) -> bool:
    """Say whether the proxies of the environment are used: not for this machine."""
    return urlsplit(url).hostname not in _LOOPBACK


def timeout_of(command: Send) -> httpx2.Timeout:
    """Return the limits of a request: its own for each read and write, and one for the connection."""
    import httpx2  # noqa: PLC0415 - 0.1 s, when a client is made

    return httpx2.Timeout(command.timeout, connect=min(CONNECT_SECONDS, command.timeout))


def failure_of(error: httpx2.RequestError, url: str) -> ConnectionFailed:
    """Return our error for one of httpx2's, which says whether the request may have reached the server."""
    import httpx2  # noqa: PLC0415 - as above

    never = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    reason = str(error) or type(error).__name__
    failure = ConnectionFailed(
        f"{url} does not answer: {reason}. Does the server run, and is OCTOLLM_URL its address?",
        was_sent=not isinstance(error, never),
    )
    failure.__cause__ = error
    return failure

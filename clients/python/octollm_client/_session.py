"""The core of both clients: makes requests, reads answers, exchanges the API key, and decides what to send again."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from octollm_client import _calls
from octollm_client._call import Pause, Send
from octollm_client._version import VERSION
from octollm_client.errors import ApiError, ConnectionFailed
from octollm_client.problems import class_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from octollm_client._call import Call, Command, Flow, Reply
    from octollm_client._retry import RetryPolicy
    from octollm_client.errors import OctollmError

DEFAULT_URL = "http://127.0.0.1:8000"
# a token is renewed before it ends, since clocks differ and a request takes a while
_RENEW_SECONDS = 30.0


class Session:
    """What the calls of one client share: the server's address, the credential, the limits.

    An `api_key` (octo_...) is exchanged for a token, which is renewed in time. `timeout` in seconds is that of a
    request without another one.
    """

    def __init__(
        self, url: str, *, api_key: str | None, token: str | None, retry: RetryPolicy, timeout: float
    ) -> None:
        if api_key and token:
            raise ValueError("Give an API key or a token, not both.")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(
                f"The server's address {url!r} must begin with http:// or https:// and name a host."
            )
        self.url = url.rstrip("/").removesuffix("/v1")
        self.retry = retry
        self.timeout = timeout
        self._key = api_key
        self._token = token
        # by time.monotonic; a token that the caller gave is not renewed
        self._renew_at = float("inf")

    def call(self, call: Call) -> Flow[Any]:
        """Carry out a call and return its answer. Raises ApiError, ConnectionFailed."""
        reply = yield from self.reply(call)
        if call.reads == "json":
            return _decoded(reply, self.url)
        return reply.content.decode("utf-8", "replace") if call.reads == "text" else None

    def reply(self, call: Call) -> Flow[Reply]:
        """Carry out a call and return its reply; with `reads` "stream" its body is open. Raises like `call`."""
        call = _with_key(call)
        retries, spent, renewed = 0, 0.0, False
        while True:
            failure = yield from self._attempt(call)
            if not isinstance(failure, Exception):
                return failure
            if _is_ended(failure) and call.credential == "token" and self._key and not renewed:
                # revoked, or signed with a key that the server has no more: a new token may do
                self._token, renewed = None, True
                continue
            pause = self.retry.pause(failure, call, retries=retries, spent=spent)
            if pause is None:
                raise failure
            retries, spent = retries + 1, spent + pause
            yield Pause(pause)

    def _attempt(self, call: Call) -> Generator[Command, Any, Reply | OctollmError]:
        credential = yield from self._credential(call)
        try:
            reply: Reply = yield self._request(call, credential)
        except ConnectionFailed as failure:
            return failure
        if reply.status < 400 or reply.status in call.answer_statuses:
            return reply
        return error_of(reply)

    def _credential(self, call: Call) -> Flow[str | None]:
        if call.credential != "token":
            return self._key if call.credential == "key" else None
        if self._key and (self._token is None or time.monotonic() >= self._renew_at):
            granted = yield from self.call(_calls.AUTH_EXCHANGE_KEY)
            seconds = float(granted["expires_in"])
            self._token = str(granted["access_token"])
            self._renew_at = time.monotonic() + max(seconds - _RENEW_SECONDS, seconds / 2)
        return self._token

    def _request(self, call: Call, credential: str | None) -> Send:
        headers = {"Accept": call.accept, "User-Agent": f"octollm-client/{VERSION} python"}
        if credential:
            name, prefix = ("X-API-Key", "") if call.credential == "key" else ("Authorization", "Bearer ")
            headers[name] = prefix + credential
        if call.idempotency_key:
            headers["Idempotency-Key"] = call.idempotency_key
        content = call.content
        if call.body is not None:
            content = json.dumps(call.body, allow_nan=False).encode()
        if content is not None:
            headers["Content-Type"] = call.content_type or "application/json"
        query = urlencode(list(_sent(call.query or {})))
        return Send(
            call.method,
            f"{self.url}{call.path}" + (f"?{query}" if query else ""),
            headers,
            content,
            self.timeout if call.timeout is None else call.timeout,
            is_stream=call.reads == "stream",
        )


def error_of(reply: Reply) -> ApiError:
    """Return the error that a reply with a status from 400 is."""
    try:
        problem = json.loads(reply.content)
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    kind = class_of(problem.get("code"), reply.status)
    return kind(problem, status=reply.status, retry_after=_seconds(reply.headers.get("retry-after")))


def _is_ended(failure: Exception) -> bool:
    return isinstance(failure, ApiError) and failure.status == 401


def _with_key(call: Call) -> Call:
    """Give each POST a key, under which the server does it once, however often it arrives."""
    if call.method != "POST" or call.idempotency_key:
        return call

    return call._replace(idempotency_key=os.urandom(16).hex())


def _sent(query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        if value is not None:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


def _decoded(reply: Reply, url: str) -> Any:
    try:
        return json.loads(reply.content)
    except ValueError as error:
        raise ConnectionFailed(
            f"{url} answered {reply.status} without JSON: is it an OctoLLM server?", was_sent=True
        ) from error


def _seconds(text: str | None) -> float | None:
    """Return how many seconds a Retry-After says (RFC 9110, 10.2.3); None if it says none."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 20 ms; our own server sends seconds

    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None

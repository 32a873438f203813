"""Reaches an MCP server over streamable HTTP: only where the operator allows it, and with bounded answers."""

import asyncio
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore2
import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from orchestrator.auth.egress import EgressRules, EgressTarget, parse_target
from orchestrator.auth.pinned import Unreachable, resolve
from orchestrator.models.errors import InvalidInput, StepError, ToolFailed
from workers.mcp.transport import MAX_MESSAGE_BYTES, Flow

_CONNECT_SECONDS = 10.0
_WRITE_SECONDS = 30.0
_MAX_CONNECTIONS = 100
_VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True)
class HttpPeer:
    """A server at a URL that the operator's rules allow."""

    url: str
    target: EgressTarget
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, table: Mapping[str, Any], env: Iterable[str], rules: EgressRules) -> "HttpPeer":
        """Return the server of a manifest's table [mcp]; `{NAME}` in a header stands for a variable of `env`.

        Raises ToolFailed for a URL that is not allowed, and for a variable that is not set.
        """
        try:
            target = parse_target(table["url"], rules)
        except InvalidInput as error:
            raise ToolFailed(f"the MCP server's {error.message}") from error
        known = {name: os.environ[name] for name in env if name in os.environ}
        headers = {name: _filled(text, known) for name, text in table.get("headers", {}).items()}
        return cls(table["url"], target, headers)

    def check(self) -> None:
        """Do nothing: the server is not ours."""

    def last_words(self) -> str:
        """Return nothing: the server writes to us by MCP alone."""
        return ""

    def end(self) -> None:
        """Do nothing: the server is not ours."""

    def streams(self, flow: Flow) -> AbstractAsyncContextManager[TransportStreams]:
        """Return the transport of one session."""
        return _over_http(self, flow)


@asynccontextmanager
async def _over_http(peer: HttpPeer, flow: Flow) -> AsyncIterator[TransportStreams]:
    timeout = httpx2.Timeout(_WRITE_SECONDS, connect=_CONNECT_SECONDS, read=None)
    # compressed answers could be bombs
    headers = {**peer.headers, "accept-encoding": "identity"}
    client = httpx2.AsyncClient(
        transport=_Transport(peer.target, flow), timeout=timeout, headers=headers, trust_env=False
    )
    async with (
        client,
        streamable_http_client(peer.url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES) as streams,
    ):
        yield streams


class _Transport(httpx2.AsyncBaseTransport):
    """HTTP to one target, whose addresses are checked at each connection; bodies count in the flow."""

    def __init__(self, target: EgressTarget, flow: Flow) -> None:
        self._flow = flow
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=_MAX_CONNECTIONS,
            network_backend=_Pinned(target),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return its response. Raises httpx2.TransportError."""
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            response = await self._pool.handle_async_request(outgoing)
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            raise httpx2.ConnectError(type(error).__name__) from error
        headers = httpx2.Headers(response.headers)
        if headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("the response is compressed, which we did not ask for")
        is_stream = headers.get("content-type", "").startswith("text/event-stream")
        return httpx2.Response(
            response.status,
            headers=headers,
            stream=_Body(response, self._flow, is_stream=is_stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    """A response's body, which counts in the flow; one message is one body, or one event of a stream."""

    def __init__(self, response: httpcore2.Response, flow: Flow, *, is_stream: bool) -> None:
        self._response, self._flow, self._is_stream = response, flow, is_stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        try:
            async for part in self._response.aiter_stream():
                received += len(part)
                self._flow.read(len(part), pending=0 if self._is_stream else received)
                yield part
        except StepError as fault:
            self._flow.fault = fault
            raise httpx2.ReadError(fault.message) from fault
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            raise httpx2.ReadError(type(error).__name__) from error

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the target's checked addresses, because another DNS lookup could return an unchecked one."""

    def __init__(self, target: EgressTarget) -> None:
        self._target = target
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the target. Raises httpcore2.ConnectError, for any other host too."""
        if (host.lower().rstrip("."), port) != (self._target.host, self._target.port):
            raise httpcore2.ConnectError("another host than the manifest's")
        give_up = time.monotonic() + _CONNECT_SECONDS
        try:
            addresses = await asyncio.to_thread(resolve, self._target, deadline=give_up)
        except Unreachable as error:
            raise httpcore2.ConnectError(str(error)) from error
        fault: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                fault = error
        raise fault

    async def sleep(self, seconds: float) -> None:
        """Sleep between the pool's own tries."""
        await asyncio.sleep(seconds)


def _filled(text: str, known: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise ToolFailed(
                f"a header of the MCP server needs {found[1]}: name it in the manifest's env, and set it"
            )
        return known[found[1]]

    return _VARIABLE.sub(value, text)

"""Carries MCP's messages over a sandboxed server's pipes; what the server writes is bounded before it is parsed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from orchestrator.models.errors import OutputTooLarge, StepError, ToolFailed, ToolServerLost
from workers.sandbox.server import SandboxedServer

MAX_MESSAGE_BYTES = 4 * 1024**2
MAX_BYTES = 16 * 1024**2
MAX_MESSAGES = 2_000
"""How much a server may write from one request of ours to the next."""
MAX_BAD_LINES = 100
_CHUNK_BYTES = 65_536
# a server must read that its call was cancelled, and may want to finish a file
_GRACE_SECONDS = 1.0


@dataclass
class Flow:
    """What a server wrote since our last request, and the first fault of it, which ends the connection."""

    size: int = 0
    messages: int = 0
    bad_lines: int = 0
    fault: StepError | None = None

    def restart(self) -> None:
        """Start to count again: a request is sent."""
        self.size = self.messages = self.bad_lines = 0

    def read(self, size: int, *, pending: int) -> None:
        """Count what was read; `pending` is the size of the line that has not ended. Raises OutputTooLarge."""
        self.size += size
        if pending > MAX_MESSAGE_BYTES:
            raise OutputTooLarge(f"the MCP server wrote a message of more than {MAX_MESSAGE_BYTES} bytes")
        if self.size > MAX_BYTES:
            raise OutputTooLarge(f"the MCP server wrote more than {MAX_BYTES} bytes in answer to one request")

    def parsed(self, line: bytes) -> mcp_types.JSONRPCMessage | None:
        """Return the message of a line, None for a line that is none. Raises ToolFailed for too many of either."""
        self.messages += 1
        if self.messages > MAX_MESSAGES:
            raise OutputTooLarge(
                f"the MCP server wrote more than {MAX_MESSAGES} messages in answer to one request"
            )
        try:
            return mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except (ValueError, RecursionError):
            self.bad_lines += 1
        if self.bad_lines > MAX_BAD_LINES:
            raise ToolFailed("the MCP server writes lines that are not MCP's messages")
        return None


@dataclass(frozen=True)
class PipePeer:
    """A server in its sandbox, as a session uses it."""

    server: SandboxedServer

    def check(self) -> None:
        """Raise ToolServerLost when it has ended, ToolFailed when it uses more than it may."""
        if self.server.has_ended():
            raise ToolServerLost("the MCP server has ended")
        self.server.check_usage()

    def last_words(self) -> str:
        """Return the end of what it wrote to its standard error."""
        return self.server.last_words()

    def end(self) -> None:
        """Let it end by itself for a moment, then kill it."""
        self.server.end(grace_seconds=_GRACE_SECONDS)

    def streams(self, flow: Flow) -> AbstractAsyncContextManager[TransportStreams]:
        """Return the transport of one session."""
        return over_pipes(self.server, flow)


@asynccontextmanager
async def over_pipes(server: SandboxedServer, flow: Flow) -> AsyncIterator[TransportStreams]:
    """Give the streams of a client of the server; they end when it ends, or when `flow` has a fault."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK_BYTES, loop=loop)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
        os.fdopen(os.dup(server.stdout), "rb", buffering=0),
    )
    writing, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(os.dup(server.stdin), "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(writing, protocol, None, loop)
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    from_session_sender, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_receive, reader, to_session, flow)
            group.start_soon(_send, writer, from_session, to_session)
            yield from_server, from_session_sender
            group.cancel_scope.cancel()
    finally:
        reading.close()
        writing.abort()
        for stream in (to_session, from_server, from_session_sender, from_session):
            stream.close()


async def _receive(
    reader: asyncio.StreamReader, to_session: MemoryObjectSendStream[SessionMessage | Exception], flow: Flow
) -> None:
    rest = bytearray()
    try:
        async with to_session:
            while chunk := await reader.read(_CHUNK_BYTES):
                *lines, tail = chunk.split(b"\n")
                flow.read(len(chunk), pending=len(rest) + len(lines[0] if lines else tail))
                for line in lines:
                    rest += line
                    message = flow.parsed(bytes(rest)) if rest.strip() else None
                    rest.clear()
                    if message is not None:
                        await to_session.send(SessionMessage(message))
                rest += tail
    except StepError as fault:
        flow.fault = fault
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return


async def _send(
    writer: asyncio.StreamWriter,
    from_session: MemoryObjectReceiveStream[SessionMessage],
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    try:
        async for message in from_session:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            writer.write(text.encode() + b"\n")
            await writer.drain()
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        # a request that can't be sent must not be waited for
        to_session.close()

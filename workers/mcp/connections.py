"""The sessions of this process, one for each arm, in one event loop in a thread; called from the threads of steps."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final, TypeVar

import mcp_types
import opentelemetry.trace
from mcp.shared import _otel

from orchestrator.models.errors import ToolServerLost
from workers.mcp.session import Call, Peer, Session

T = TypeVar("T")
_TICK_SECONDS = 0.1


class Connections:
    """Keeps a session for each arm open; several threads may call at the same time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop the sessions without ending them: a forked child has none."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: dict[str, Session] = {}
        # one thread starts all servers: the kernel ends some sandboxes when the thread that started them ends
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="mcp-start")

    def call(
        self, name: str, start: Callable[[], Peer], call: Call, *, checkpoint: Callable[[], None]
    ) -> mcp_types.CallToolResult:
        """Call a tool of the server `name`, which `start` starts; see Session.call.

        Calls `checkpoint` several times a second: its error cancels the call.
        """
        return self._wait(self._call(name, start, call), checkpoint)

    def describe(
        self, name: str, start: Callable[[], Peer], *, checkpoint: Callable[[], None]
    ) -> dict[str, Any]:
        """Return what the server `name` says of itself; see Session.describe."""
        return self._wait(self._describe(name, start), checkpoint)

    def close(self) -> list[str]:
        """End all servers; return the last words of each, which are untrusted."""
        return self._wait(self._close(), lambda: None)

    async def _call(self, name: str, start: Callable[[], Peer], call: Call) -> mcp_types.CallToolResult:
        warm = self._sessions.get(name)
        if warm is not None and not warm.is_retired:
            try:
                return await warm.call(call)
            except ToolServerLost:
                # it may have ended since its last call
                if call.is_sent:
                    raise
        return await self._session(name, start).call(call)

    async def _describe(self, name: str, start: Callable[[], Peer]) -> dict[str, Any]:
        return await self._session(name, start).describe()

    async def _close(self) -> list[str]:
        sessions = list(self._sessions.values())
        for session in sessions:
            session.retire()
            await session.wait_closed()
        return [session.last_words for session in sessions]

    def _session(self, name: str, start: Callable[[], Peer]) -> Session:
        session = self._sessions.get(name)
        if session is None or session.is_retired:
            session = self._sessions[name] = Session(name, start, self._starter)
        return session

    def _wait(self, work: Coroutine[Any, Any, T], checkpoint: Callable[[], None]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            while not wait([future], _TICK_SECONDS).done:
                checkpoint()
            return future.result()
        finally:
            future.cancel()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                _quiet()
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True).start()
            return self._loop


def _quiet() -> None:
    """Turn off the SDK's logs, which quote what servers write, and its spans, which go beside our trace."""
    for name in ("mcp", "client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _otel._tracer = opentelemetry.trace.NoOpTracer()


CONNECTIONS: Final = Connections()
os.register_at_fork(after_in_child=CONNECTIONS.forget)

"""One session with an MCP server: connects, lists its tools, calls one of them, and ends with its server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import mcp_types
import structlog
from mcp import Client, MCPError
from mcp.client._transport import TransportStreams
from pydantic import TypeAdapter, ValidationError

from orchestrator.models.errors import OctoError, StepError, ToolChanged, ToolFailed, ToolServerLost
from orchestrator.models.mcp_tools import MAX_TOOLS, sha256_of
from workers.mcp.transport import Flow

log = structlog.get_logger(__name__)

T = TypeVar("T")

CONNECT_SECONDS: Final = 60.0
LIST_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 600.0
_WATCH_SECONDS = 0.5
_MAX_PAGES = 50
_RESULT: TypeAdapter[mcp_types.CallToolResult | mcp_types.InputRequiredResult] = TypeAdapter(
    mcp_types.CallToolResult | mcp_types.InputRequiredResult
)
_MAX_SAID = 1_000
# with these codes a server says that it did not begin the call; any other may come after an effect
_REFUSALS = frozenset((mcp_types.INVALID_PARAMS, mcp_types.METHOD_NOT_FOUND))
_LOST = frozenset((mcp_types.CONNECTION_CLOSED, mcp_types.REQUEST_TIMEOUT))


class Peer(Protocol):
    """A server that a session can be opened with; its methods are called in threads, but for `streams`."""

    def check(self) -> None:
        """Raise StepError when the server has ended, or uses more than it may."""
        ...

    def last_words(self) -> str:
        """Return what the server wrote for its operator; untrusted."""
        ...

    def end(self) -> None:
        """End the server; safe to call twice."""
        ...

    def streams(self, flow: Flow) -> AbstractAsyncContextManager[TransportStreams]:
        """Return the transport of one session."""
        ...


@dataclass
class Call:
    """One call of a tool: its frozen sha256, its arguments, and whether the server may have begun it."""

    tool: str
    sha256: str
    arguments: Mapping[str, Any]
    is_sent: bool = False


@dataclass(eq=False)
class Session:
    """A connection to one server, made in a running event loop; `name` is the arm's, for messages.

    `start` is called in a thread of `starter`. A retired session takes no more calls, and ends its server when the
    running ones have ended.
    """

    name: str
    start: Callable[[], Peer]
    starter: ThreadPoolExecutor
    flow: Flow = field(default_factory=Flow)
    used_at: float = field(default_factory=time.monotonic)
    is_retired: bool = False
    last_words: str = ""

    def __post_init__(self) -> None:
        self._calls = 0
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._serve())

    async def describe(self) -> dict[str, Any]:
        """Return what the server says of itself: `tools` as tools/list gives them, `version` and `protocol`.

        Raises StepError.
        """

        async def described(client: Client) -> dict[str, Any]:
            about = client.server_info
            return {
                "tools": await self._listed(client),
                "version": about.version if about else "",
                "protocol": client.protocol_version,
            }

        return await self._guarded(described)

    async def call(self, call: Call) -> mcp_types.CallToolResult:
        """Check that the tool is as it was frozen, call it, and return its result.

        Raises ToolChanged, ToolServerLost, ToolFailed and OutputTooLarge. When the caller is cancelled, the server is
        told so, and takes no more calls.
        """
        return await self._guarded(lambda client: self._checked_call(client, call))

    def retire(self) -> None:
        """Take no more calls; close when the last one has ended."""
        self.is_retired = True
        if self._calls == 0:
            self._closing.set()

    async def wait_closed(self) -> None:
        """Wait until the server has ended."""
        await asyncio.wait([self._task])

    async def _guarded(self, work: Callable[[Client], Awaitable[T]]) -> T:
        self._calls += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                client = await asyncio.shield(self._opened)
            self.flow.restart()
            return await work(client)
        except MCPError as error:
            raise self._fault_of(error) from error
        except TimeoutError as error:
            self.retire()
            raise ToolServerLost(f"the MCP server {self.name} does not answer") from error
        except ValidationError as error:
            raise ToolFailed(f"the MCP server {self.name} gave an answer that MCP does not allow") from error
        except (asyncio.CancelledError, ToolServerLost):
            self.retire()
            raise
        finally:
            self._calls -= 1
            self.used_at = time.monotonic()
            if self.is_retired and self._calls == 0:
                self._closing.set()

    def _fault_of(self, error: MCPError) -> StepError:
        if self.flow.fault is None and error.error.code not in _LOST:
            return ToolFailed(
                f"the MCP server {self.name} refuses the call with error {error.error.code}",
                details={
                    "said": error.error.message[:_MAX_SAID],
                    "untrusted": True,
                    "is_refusal": error.error.code in _REFUSALS,
                },
            )
        self.retire()
        return self.flow.fault or ToolServerLost(f"the MCP server {self.name} ended before it answered")

    async def _listed(self, client: Client) -> list[dict[str, Any]]:
        tools: list[mcp_types.Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params = mcp_types.PaginatedRequestParams(cursor=cursor)
            async with asyncio.timeout(LIST_SECONDS):
                page = await client.session.list_tools(params=params)
            tools += page.tools
            cursor = page.next_cursor
            if len(tools) > MAX_TOOLS:
                raise ToolFailed(f"the MCP server {self.name} has more than {MAX_TOOLS} tools")
            if not cursor:
                return [_record(tool) for tool in tools]
        raise ToolFailed(f"the MCP server {self.name} lists its tools on more than {_MAX_PAGES} pages")

    async def _checked_call(self, client: Client, call: Call) -> mcp_types.CallToolResult:
        # at each call: not every server announces changes, and a list costs a millisecond
        found = [tool for tool in await self._listed(client) if tool["name"] == call.tool]
        if len(found) != 1 or sha256_of(found[0]) != call.sha256:
            self.retire()
            raise ToolChanged(
                f"the tool {call.tool} of the MCP server {self.name} is not the one that was approved: "
                f"`octollm tools sync {self.name}` and `octollm tools diff {self.name}` show what changed, "
                f"`octollm tools approve {self.name}` accepts it"
            )
        call.is_sent = True
        # not Client.call_tool, which validates by the server's own schema without bounds
        result = await client.session.send_request(
            mcp_types.CallToolRequest(
                params=mcp_types.CallToolRequestParams(name=call.tool, arguments=dict(call.arguments))
            ),
            _RESULT,
        )
        if isinstance(result, mcp_types.InputRequiredResult):
            raise ToolFailed(f"the tool {call.tool} of {self.name} asks for input, which arms do not give")
        return result

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            peer = await loop.run_in_executor(self.starter, self.start)
        except Exception as error:
            self._end_with(error)
            return
        try:
            talk = asyncio.create_task(self._talk(peer))
            closing = asyncio.create_task(self._closing.wait())
            await asyncio.wait({talk, closing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (talk, closing):
                task.cancel()
            await asyncio.wait({talk, closing})
        finally:
            await asyncio.to_thread(peer.end)
            self.last_words = peer.last_words()
            if self.flow.fault is not None:
                log.warning(
                    "mcp.server_ended",
                    arm=self.name,
                    code=self.flow.fault.code,
                    reason=self.flow.fault.message,
                )
            if not self._opened.done():
                self._end_with(self.flow.fault)

    async def _talk(self, peer: Peer) -> None:
        try:
            client = Client(peer.streams(self.flow), cache=None, client_info=_CLIENT)
            async with client:
                self._opened.set_result(client)
                while self._calls or time.monotonic() < self.used_at + IDLE_SECONDS:
                    if self.flow.fault is not None:
                        raise self.flow.fault
                    await asyncio.to_thread(peer.check)
                    await asyncio.sleep(_WATCH_SECONDS)
        except OctoError as error:
            self.flow.fault = self.flow.fault or (error if isinstance(error, StepError) else None)
        except (MCPError, ValidationError, OSError, ExceptionGroup):
            # the calls that wait get the fault, or that the server is lost
            pass
        finally:
            self.is_retired = True

    def _end_with(self, error: BaseException | None) -> None:
        self.is_retired = True
        known = error if isinstance(error, StepError) else None
        self._opened.set_exception(
            known or ToolServerLost(f"the MCP server {self.name} did not start, or does not speak MCP")
        )
        # it may be that nobody waits any more
        self._opened.exception()


_CLIENT = mcp_types.Implementation(name="octollm", version="1")


def _record(tool: mcp_types.Tool) -> dict[str, Any]:
    return tool.model_dump(by_alias=True, exclude_none=True, mode="json")

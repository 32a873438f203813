"""What the core and the transports say to each other: a call of the API, and the commands that carry it out.

The core is generators ("flows"). A flow yields commands, is sent their outcomes, and does no input or output itself; a
transport (octollm_client.client, octollm_client.async_client) carries the commands out. So each rule is written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from octollm_client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path
    from typing import Literal, TypeVar

    T = TypeVar("T")
    Flow = Generator["Command", Any, T]
    """Yields commands and returns a T."""


class Call(NamedTuple):
    """A call of an operation.

    `path` may be a template, which `given` fills in. `query` without the values that are None is sent. `body` is sent
    as JSON, `content` as it is. `is_idempotent`: a second call has the same effect as the first. `answer_statuses` are
    statuses from 400 that are no problems. `timeout` in seconds replaces the client's.
    """

    method: str
    path: str
    query: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    content: bytes | Path | None = None
    content_type: str | None = None
    accept: str = "application/json"
    idempotency_key: str | None = None
    is_idempotent: bool = False
    reads: Literal["json", "text", "nothing", "stream"] = "json"
    answer_statuses: tuple[int, ...] = ()
    credential: Literal["token", "key", "none"] = "token"
    timeout: float | None = None

    def given(self, *, path: Mapping[str, str] | None = None, **members: Any) -> Call:
        """Return the call with the path's parameters filled in, and with other members. Raises like `path_of`."""
        return self._replace(path=path_of(self.path, **(path or {})), **members)


class Send(NamedTuple):
    """Send a request; the outcome is a Reply. With `is_stream` the body of a success stays open for Read."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | Path | None
    timeout: float
    is_stream: bool


class Reply(NamedTuple):
    """A response; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Read(NamedTuple):
    """Read from the open stream; the outcome is some bytes, none at its end."""


class Close(NamedTuple):
    """Close the open stream."""


class Pause(NamedTuple):
    """Wait for so many seconds."""

    seconds: float


class Emit(NamedTuple):
    """Give an item to the caller's loop."""

    item: Any


Command = Send | Read | Close | Pause | Emit


class Ended(NamedTuple):
    """The flow has ended with this value."""

    value: Any


def advance(flow: Flow[Any], outcome: Any) -> Command | Ended:
    """Tell a flow its last command's outcome (None at first), and return its next command.

    An outcome that is a ConnectionFailed is raised in the flow. Raises what the flow raises.
    """
    try:
        return flow.throw(outcome) if isinstance(outcome, ConnectionFailed) else flow.send(outcome)
    except StopIteration as ended:
        return Ended(ended.value)


def path_of(template: str, **values: str) -> str:
    """Return a path with its parameters filled in. Raises ValueError for one that would be another path."""
    for name, value in values.items():
        if value in ("", ".", ".."):
            raise ValueError(f"{name} is {value!r}: it must name something")
    return template.format(**{name: quote(value, safe="") for name, value in values.items()})

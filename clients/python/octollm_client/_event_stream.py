"""Reads server-sent events (WHATWG HTML, 9.2) from the bytes of a stream, however they are cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from octollm_client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octollm_client import types as t

# an event has at most some kilobytes; a server that sends more without a line's end is not ours
MAX_BYTES = 16 * 1024 * 1024


class EventReader:
    """Takes chunks of a stream and gives its events; an event whose end has not arrived is not given."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[t.Event]:
        """Yield the events that end in this chunk. Raises ConnectionFailed for what is no event of ours."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_BYTES:
            raise ConnectionFailed("The server sends an event without an end.", was_sent=True)
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                self._lines.append(text[5:].removeprefix(b" "))
            elif not text and self._lines:
                content, self._lines = b"\n".join(self._lines), []
                yield _event(content)


def _event(content: bytes) -> t.Event:
    try:
        event: t.Event = json.loads(content)
        event["type"]
    except (ValueError, TypeError, KeyError) as error:
        raise ConnectionFailed("The server sends something else than events.", was_sent=True) from error
    return event

"""Reads what a tool writes, so much of it and no more."""

import os
import selectors
from collections.abc import Iterable
from dataclasses import dataclass, field

_CHUNK_BYTES = 65_536


@dataclass
class Stream:
    """One pipe from a tool: its first `limit` bytes are kept, the rest is counted."""

    descriptor: int
    limit: int
    kept: bytearray = field(default_factory=bytearray)
    total: int = 0

    def take(self, chunk: bytes) -> None:
        """Add what was read."""
        self.total += len(chunk)
        self.kept += chunk[: max(self.limit - len(self.kept), 0)]


class Streams:
    """Pipes that are read together."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._selector = selectors.DefaultSelector()
        for stream in streams:
            os.set_blocking(stream.descriptor, False)
            self._selector.register(stream.descriptor, selectors.EVENT_READ, stream)

    def add_wake(self, descriptor: int) -> None:
        """Have `read` return as soon as there is something to read at this descriptor, too."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)

    def remove_wake(self, descriptor: int) -> None:
        """Undo `add_wake`."""
        self._selector.unregister(descriptor)

    def read(self, seconds: float) -> bool:
        """Read what is there, or wait at most `seconds` for something; return whether anything was read."""
        found = False
        for key, _ in self._selector.select(seconds):
            stream: Stream | None = key.data
            if stream is None:
                continue
            try:
                chunk = os.read(key.fd, _CHUNK_BYTES)
            except BlockingIOError:
                continue
            if chunk:
                stream.take(chunk)
                found = True
            else:
                self._selector.unregister(key.fd)
        return found

    def close(self) -> None:
        """Let go of the pipes, which stay open."""
        self._selector.close()

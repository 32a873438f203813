"""Makes a client's socket safe for simple-websocket: whole writes, one at a time, and no early close."""

import contextlib
import socket
import struct
import threading
from typing import Any

# what a stream may hold in the kernel; past it a client that does not read is noticed
_SEND_BUFFER_BYTES = 64 * 1024
_LONGEST_WRITE = struct.pack("ll", 10, 0)


class LockedSocket:
    """A socket whose `send` writes everything under a lock; all else is the socket's own.

    simple-websocket 1.1.0 takes a partial `send` for a whole one, and its reader answers pings in the middle of other
    threads' frames. A write that stands still for 10 s fails. The server that accepted the socket counts its
    connections by closing them itself, so `close` only ends the conversation.
    """

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped
        self._lock = threading.Lock()
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _LONGEST_WRITE)

    def send(self, content: bytes) -> int:
        """Write all of `content`. Raises OSError when the client is gone or does not read."""
        with self._lock:
            try:
                self._wrapped.sendall(content)
            except OSError:
                # half a frame may be out: nothing can follow it
                self.close()
                raise
        return len(content)

    def close(self) -> None:
        """End the conversation in both directions; calling twice is safe."""
        with contextlib.suppress(OSError):
            self._wrapped.shutdown(socket.SHUT_RDWR)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

"""Detects when all of an HTTP/1.1 request has arrived; the server's parser validates it afterwards."""

import re
from enum import Enum, auto

MAX_HEAD_BYTES = 64 * 1024
_MAX_LINE_BYTES = 4096
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*(\d{1,15})[ \t]*\r$")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding[ \t]*:[^\r\n]{0,200}chunked")
_EXPECTS = re.compile(rb"(?im)^expect[ \t]*:[ \t]*100-continue")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Progress(Enum):
    """How much of a request has arrived."""

    PART_OF_HEAD = auto()
    PART_OF_BODY = auto()
    COMPLETE = auto()
    HEAD_TOO_LARGE = auto()


class Framing:
    """Tracks the bytes of one request; a body of more than `max_body_bytes` counts as complete, as it will be refused.

    Once the head has arrived, `body_bytes` is its Content-Length (0 if there is none), and `expects_continue` says
    whether the client waits for a 100 before it sends the body.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        self.body_bytes = 0
        self.expects_continue = False
        self._max_body_bytes = max_body_bytes
        self._searched = 0
        self._head_end = 0
        self._is_chunked = False
        self._is_in_trailer = False
        self._position = 0

    def scan(self, data: bytearray) -> Progress:
        """Return the progress, given all bytes so far; each call examines only the new ones."""
        if not self._head_end:
            end = data.find(b"\r\n\r\n", max(0, self._searched - 3))
            self._searched = len(data)
            if end < 0:
                return Progress.HEAD_TOO_LARGE if len(data) > MAX_HEAD_BYTES else Progress.PART_OF_HEAD
            self._read_head(bytes(data[: end + 2]))
        if self._is_chunked:
            is_complete = len(data) - self._head_end > self._max_body_bytes or self._has_last_chunk(data)
        else:
            is_complete = (
                self.body_bytes > self._max_body_bytes or len(data) - self._head_end >= self.body_bytes
            )
        return Progress.COMPLETE if is_complete else Progress.PART_OF_BODY

    def _read_head(self, head: bytes) -> None:
        self._head_end = self._position = len(head) + 2
        length = _LENGTH.search(head)
        self.body_bytes = int(length[1]) if length else 0
        self._is_chunked = _CHUNKED.search(head) is not None
        self.expects_continue = _EXPECTS.search(head) is not None

    def _has_last_chunk(self, data: bytearray) -> bool:
        """Skip from chunk to chunk (RFC 9112, 7.1); a malformed chunk counts as the last one."""
        while True:
            line_end = data.find(b"\r\n", self._position, self._position + _MAX_LINE_BYTES)
            if line_end < 0:
                return len(data) - self._position >= _MAX_LINE_BYTES
            line = bytes(data[self._position : line_end])
            if self._is_in_trailer:
                if not line:
                    return True
                self._position = line_end + 2
                continue
            size = line.partition(b";")[0].strip()
            if not _SIZE.fullmatch(size):
                return True
            count = int(size, 16)
            if count > self._max_body_bytes:
                return True
            following = line_end + 2 + (count + 2 if count else 0)
            if following > len(data):
                return False
            self._is_in_trailer = count == 0
            self._position = following

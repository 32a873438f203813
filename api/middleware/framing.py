"""Says when a request that arrives in pieces is whole; what is wrong with it is for the server's parser to say."""

import re
from enum import Enum, auto

MAX_HEAD_BYTES = 64 * 1024
_MAX_LINE_BYTES = 4096
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*(\d{1,15})[ \t]*\r$")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding[ \t]*:[^\r\n]{0,200}chunked")
_EXPECTS = re.compile(rb"(?im)^expect[ \t]*:[ \t]*100-continue")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Arrived(Enum):
    """How much of a request is there."""

    PART_OF_HEAD = auto()
    PART_OF_BODY = auto()
    WHOLE = auto()
    HEAD_TOO_LARGE = auto()


class Framing:
    """Follows one request's bytes; a body of more than `max_body_bytes` counts as whole, for it will be refused.

    `body_bytes` is what the head says of the body's size, `expects_continue` that the client waits for a 100 before
    it sends the body; both are known after the head.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        self.body_bytes = 0
        self.expects_continue = False
        self._most = max_body_bytes
        self._searched = 0
        self._head_end = 0
        self._is_chunked = False
        self._is_in_trailer = False
        self._position = 0

    def look(self, data: bytearray) -> Arrived:
        """Look at all bytes so far; each call looks only at what is new."""
        if not self._head_end:
            end = data.find(b"\r\n\r\n", max(0, self._searched - 3))
            self._searched = len(data)
            if end < 0:
                return Arrived.HEAD_TOO_LARGE if len(data) > MAX_HEAD_BYTES else Arrived.PART_OF_HEAD
            self._read_head(bytes(data[: end + 2]))
        if self._is_chunked:
            is_whole = len(data) - self._head_end > self._most or self._has_last_chunk(data)
        else:
            is_whole = self.body_bytes > self._most or len(data) - self._head_end >= self.body_bytes
        return Arrived.WHOLE if is_whole else Arrived.PART_OF_BODY

    def _read_head(self, head: bytes) -> None:
        self._head_end = self._position = len(head) + 2
        length = _LENGTH.search(head)
        self.body_bytes = int(length[1]) if length else 0
        self._is_chunked = _CHUNKED.search(head) is not None
        self.expects_continue = _EXPECTS.search(head) is not None

    def _has_last_chunk(self, data: bytearray) -> bool:
        """Go on from chunk to chunk (RFC 9112, 7.1); what is no chunk counts as the end."""
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
            if count > self._most:
                return True
            following = line_end + 2 + (count + 2 if count else 0)
            if following > len(data):
                return False
            self._is_in_trailer = count == 0
            self._position = following

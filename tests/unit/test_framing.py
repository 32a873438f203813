"""A request that arrives in pieces is complete at its last byte."""

import pytest

from api.middleware.framing import MAX_HEAD_BYTES, Framing, Progress

MAX_BODY_BYTES = 1000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t5\r\n\r\n12345"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"


def scan(data: bytes) -> Progress:
    return Framing(max_body_bytes=MAX_BODY_BYTES).scan(bytearray(data))


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET,
        POST,
        CHUNKED + b"0\r\n\r\n",
        CHUNKED + b"3;x=y\r\nabc\r\nA\r\n0\r\n\r\n45678\r\n0\r\nTrailer: a\r\n\r\n",
    ],
)
def test_a_request_is_complete_at_its_last_byte_and_not_before(request_bytes: bytes) -> None:
    framing, data = Framing(max_body_bytes=MAX_BODY_BYTES), bytearray()

    progress = []
    for byte in request_bytes:
        data.append(byte)
        progress.append(framing.scan(data))

    assert progress[-1] is Progress.COMPLETE
    assert Progress.COMPLETE not in progress[:-1]


@pytest.mark.parametrize(
    "refused",
    [
        POST.replace(b"\t5", b"1001"),
        CHUNKED + b"-5\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"fffffff\r\n",
        CHUNKED + b"1" * 5000,
        CHUNKED + b"1\r\na\r\n" * 200,
    ],
)
def test_a_request_that_will_be_refused_counts_as_complete(refused: bytes) -> None:
    assert scan(refused) is Progress.COMPLETE


def test_the_size_of_a_head_is_limited() -> None:
    assert scan(b"a" * MAX_HEAD_BYTES) is Progress.PART_OF_HEAD
    assert scan(b"a" * (MAX_HEAD_BYTES + 1)) is Progress.HEAD_TOO_LARGE

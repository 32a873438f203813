"""When a request that arrives in pieces is whole."""

import pytest

from api.middleware.framing import MAX_HEAD_BYTES, Arrived, Framing

MOST = 1000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t5\r\n\r\n12345"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"


def look(data: bytes) -> Arrived:
    return Framing(max_body_bytes=MOST).look(bytearray(data))


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET,
        POST,
        CHUNKED + b"0\r\n\r\n",
        CHUNKED + b"3;x=y\r\nabc\r\nA\r\n0\r\n\r\n45678\r\n0\r\nTrailer: a\r\n\r\n",
    ],
)
def test_a_request_is_whole_at_its_last_byte_and_not_before(request_bytes: bytes) -> None:
    framing, data = Framing(max_body_bytes=MOST), bytearray()

    stages = []
    for byte in request_bytes:
        data.append(byte)
        stages.append(framing.look(data))

    assert stages[-1] is Arrived.WHOLE
    assert Arrived.WHOLE not in stages[:-1]


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
def test_what_will_be_refused_anyway_is_not_waited_for(refused: bytes) -> None:
    assert look(refused) is Arrived.WHOLE


def test_a_head_has_a_largest_size() -> None:
    assert look(b"a" * MAX_HEAD_BYTES) is Arrived.PART_OF_HEAD
    assert look(b"a" * (MAX_HEAD_BYTES + 1)) is Arrived.HEAD_TOO_LARGE

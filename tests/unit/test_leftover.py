"""What a refused request still sends is read for a limited time, however it is sent."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import SocketUnreader

from api.middleware import leftover

LENGTH = 10_000
GENEROUS_SECONDS = 5.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the server's end and the client's."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def body_of(server: socket.socket, *, length: int = LENGTH) -> Body:
    return Body(LengthReader(SocketUnreader(server), length))


def test_a_body_that_comes_is_read_to_its_end_and_the_connection_stays(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, client = ends
    client.sendall(bytes(LENGTH) + b"next")

    assert leftover.drain(body_of(server), server)

    server.sendall(b"still here")
    assert client.recv(100) == b"still here"


@pytest.mark.parametrize("places", ["free", "taken"])
def test_a_trickle_does_not_hold_a_thread(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, places: str
) -> None:
    server, client = ends
    monkeypatch.setattr(leftover, "PATIENT_SECONDS", 0.5 if places == "free" else 60.0)
    monkeypatch.setattr(leftover, "HASTY_SECONDS", 0.5 if places == "taken" else 60.0)
    monkeypatch.setattr(leftover, "_patient", threading.BoundedSemaphore(1))
    if places == "taken":
        leftover._patient.acquire()
    is_over = threading.Event()

    def trickle() -> None:
        while not is_over.wait(0.05):
            try:
                client.send(b"x")
            except OSError:
                return

    sender = threading.Thread(target=trickle)
    sender.start()
    started = time.monotonic()
    try:
        has_ended = leftover.drain(body_of(server), server)
    finally:
        is_over.set()
        sender.join()

    assert not has_ended
    assert time.monotonic() - started < GENEROUS_SECONDS
    assert client.recv(100) == b""


def test_silence_ends_the_connection_at_once(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = ends
    monkeypatch.setattr(leftover, "SILENT_SECONDS", 0.1)
    started = time.monotonic()

    assert not leftover.drain(body_of(server), server)

    assert time.monotonic() - started < GENEROUS_SECONDS
    assert client.recv(100) == b""


def test_a_body_that_is_too_large_is_not_read_to_its_end(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = ends
    monkeypatch.setattr(leftover, "MOST_BYTES", LENGTH // 2)
    client.sendall(bytes(LENGTH))

    assert not leftover.drain(body_of(server), server)


def test_places_are_given_back(ends: tuple[socket.socket, socket.socket]) -> None:
    server, client = ends
    for _ in range(2 * leftover.PATIENT_PLACES):
        client.sendall(b"x")
        assert leftover.drain(body_of(server, length=1), server)

    assert leftover._patient.acquire(blocking=False)
    leftover._patient.release()

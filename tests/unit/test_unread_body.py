"""The rest of a refused request's body is read for a limited time, however it is sent."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import SocketUnreader

from api.middleware import unread_body

LENGTH = 10_000
MAX_TEST_SECONDS = 5.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the server's end and the client's."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def body_of(server: socket.socket, *, length: int = LENGTH) -> Body:
    return Body(LengthReader(SocketUnreader(server), length))


def test_a_body_that_arrives_is_read_to_its_end_and_the_connection_stays_open(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, client = ends
    client.sendall(bytes(LENGTH) + b"next")

    assert unread_body.discard(body_of(server), server)

    server.sendall(b"still here")
    assert client.recv(100) == b"still here"


@pytest.mark.parametrize("slots", ["free", "taken"])
def test_a_body_sent_byte_by_byte_does_not_hold_a_thread(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, slots: str
) -> None:
    server, client = ends
    monkeypatch.setattr(unread_body, "PATIENT_SECONDS", 0.5 if slots == "free" else 60.0)
    monkeypatch.setattr(unread_body, "HASTY_SECONDS", 0.5 if slots == "taken" else 60.0)
    monkeypatch.setattr(unread_body, "_patient", threading.BoundedSemaphore(1))
    if slots == "taken":
        unread_body._patient.acquire()
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
        has_ended = unread_body.discard(body_of(server), server)
    finally:
        is_over.set()
        sender.join()

    assert not has_ended
    assert time.monotonic() - started < MAX_TEST_SECONDS
    assert client.recv(100) == b""


def test_a_client_that_sends_nothing_is_disconnected(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = ends
    monkeypatch.setattr(unread_body, "SILENT_SECONDS", 0.1)
    started = time.monotonic()

    assert not unread_body.discard(body_of(server), server)

    assert time.monotonic() - started < MAX_TEST_SECONDS
    assert client.recv(100) == b""


def test_a_body_that_is_too_large_is_not_read_to_its_end(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = ends
    monkeypatch.setattr(unread_body, "MAX_BYTES", LENGTH // 2)
    client.sendall(bytes(LENGTH))

    assert not unread_body.discard(body_of(server), server)


def test_slots_are_released(ends: tuple[socket.socket, socket.socket]) -> None:
    server, client = ends
    for _ in range(2 * unread_body.PATIENT_SLOTS):
        client.sendall(b"x")
        assert unread_body.discard(body_of(server, length=1), server)

    assert unread_body._patient.acquire(blocking=False)
    unread_body._patient.release()

"""Reads and discards the rest of a refused request's body, for a limited time, so that the client gets the response.

Most clients send their whole body before they read. A server that responds early and closes the connection with
unread bytes resets it (RFC 9112, 9.6): the client sees a broken pipe, not the 401, 403, 413, 415 or 429.
"""

import contextlib
import socket
import threading
from functools import partial
from http import HTTPStatus
from typing import IO

import structlog
from flask import Flask, Response, request

# for one body; twice the largest allowed MAX_FILE_BYTES
MAX_BYTES = 2**29
# a client that sends nothing for this long is disconnected
SILENT_SECONDS = 2.0
# total time for one body: in one of the PATIENT_SLOTS, and outside them
PATIENT_SECONDS = 10.0
HASTY_SECONDS = 1.0
PATIENT_SLOTS = 8
_CHUNK_BYTES = 64 * 1024

log = structlog.get_logger(__name__)
_patient = threading.BoundedSemaphore(PATIENT_SLOTS)


def install(app: Flask) -> None:
    """Discard the rest of the body after each error response."""
    app.after_request(_discard_after_error)


def _discard_after_error(response: Response) -> Response:
    sock = request.environ.get("gunicorn.socket")
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    if sock is not None and has_body and response.status_code >= HTTPStatus.BAD_REQUEST:
        # called once the whole response has been written
        response.call_on_close(partial(discard, request.environ["wsgi.input"], sock))
    return response


def discard(body: IO[bytes], sock: socket.socket) -> bool:
    """Read `body`, which comes from `sock`, to its end; return whether it ended in time, else end the connection.

    This holds the calling thread for at most HASTY_SECONDS; at most PATIENT_SLOTS threads for PATIENT_SECONDS.
    """
    is_patient = _patient.acquire(blocking=False)
    timed_out = threading.Event()

    def cut() -> None:
        timed_out.set()
        _end(sock)

    # a socket's timeout restarts with each byte; this timer does not
    watchdog = threading.Timer(PATIENT_SECONDS if is_patient else HASTY_SECONDS, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        has_ended = _read_to_the_end(body, sock) and not timed_out.is_set()
    finally:
        watchdog.cancel()
        if is_patient:
            _patient.release()
    if not has_ended:
        _end(sock)
    return has_ended


def _read_to_the_end(body: IO[bytes], sock: socket.socket) -> bool:
    remaining = MAX_BYTES
    try:
        sock.settimeout(SILENT_SECONDS)
        while remaining > 0:
            chunk = body.read(_CHUNK_BYTES)
            if not chunk:
                sock.settimeout(None)
                return True
            remaining -= len(chunk)
    except Exception as error:
        # the server's reader may raise anything: a timeout, a lost connection, a malformed chunk
        log.debug("body.not_read", error=type(error).__name__)
    return False


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)

"""Reads what a refused request still sends, for a limited time, so that its sender sees the answer.

Most clients send their whole body before they read. A server that answers early and closes the connection with bytes
unread resets it (RFC 9112, 9.6): the client sees a broken pipe, not the 401, 403, 413, 415 or 429.
"""

import contextlib
import socket
import threading
from functools import partial
from http import HTTPStatus
from typing import IO

import structlog
from flask import Flask, Response, request

# of one body; twice what MAX_FILE_BYTES may be
MAX_BYTES = 2**29
# a sender that is silent for so long is cut off
SILENT_SECONDS = 2.0
# a body is read for so long altogether: with one of the patient places, and without
PATIENT_SECONDS = 10.0
HASTY_SECONDS = 1.0
PATIENT_PLACES = 8
_CHUNK_BYTES = 64 * 1024

log = structlog.get_logger(__name__)
_patient = threading.BoundedSemaphore(PATIENT_PLACES)


def install(app: Flask) -> None:
    """Read what is left of a body when an error has been answered."""
    app.after_request(_read_the_rest)


def _read_the_rest(response: Response) -> Response:
    sock = request.environ.get("gunicorn.socket")
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    if sock is not None and has_body and response.status_code >= HTTPStatus.BAD_REQUEST:
        # called when the whole answer has been written
        response.call_on_close(partial(drain, request.environ["wsgi.input"], sock))
    return response


def drain(body: IO[bytes], sock: socket.socket) -> bool:
    """Read `body`, which comes from `sock`, to its end; where that takes too long, end the connection. True: it ended.

    The thread that answers is held for HASTY_SECONDS at most, or PATIENT_SECONDS in PATIENT_PLACES at the same time.
    """
    is_patient = _patient.acquire(blocking=False)
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        _end(sock)

    # a socket's timeout begins anew with each byte: this one does not
    watchdog = threading.Timer(PATIENT_SECONDS if is_patient else HASTY_SECONDS, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        has_ended = _read_to_the_end(body, sock) and not is_late.is_set()
    finally:
        watchdog.cancel()
        if is_patient:
            _patient.release()
    if not has_ended:
        _end(sock)
    return has_ended


def _read_to_the_end(body: IO[bytes], sock: socket.socket) -> bool:
    left = MAX_BYTES
    try:
        sock.settimeout(SILENT_SECONDS)
        while left > 0:
            chunk = body.read(_CHUNK_BYTES)
            if not chunk:
                sock.settimeout(None)
                return True
            left -= len(chunk)
    except Exception as error:
        # whatever the server's reader raises: a timeout, a lost connection, a chunk that is none
        log.debug("body.not_read", error=type(error).__name__)
    return False


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)

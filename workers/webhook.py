"""One delivery of a webhook: signed, to a pinned public address, with limits, and its outcome recorded."""

import http.client
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from standardwebhooks import Webhook

from orchestrator.auth import credential
from orchestrator.auth.callback import CallbackTarget, is_public, parse_callback
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.memory import webhooks
from orchestrator.memory.webhooks import Delivery, DeliveryLease
from orchestrator.models.errors import InvalidInput
from orchestrator.settings import Settings

LIMIT_SECONDS = 5.0
MAX_BODY_BYTES = 1024 * 1024
# longer than a message may wait in the queue and be worked on
LEASE_SECONDS = 60.0
_FIRST_DELAY_SECONDS = 5.0
_LONGEST_DELAY_SECONDS = 3600.0
_MAX_FAILURES = 15
_GONE = 410

log = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """What came of an attempt: no reason when it was delivered."""

    reason: str | None
    http_status: int | None = None
    is_final: bool = False


class Undeliverable(Exception):
    """The target may not be reached: a word of ours says why."""


def deliver(process: WorkerProcess, ticket: DeliveryLease) -> None:
    """Try a delivery once and record the outcome; a ticket that was taken over does nothing.

    At least once: a receiver that got it and could not say so gets it again, with the same task_id and seq.
    """
    with statement(process.engine) as conn:
        delivery = webhooks.read(conn, ticket)
    if delivery is None:
        return
    outcome = _attempt(process.settings, delivery)
    failures = delivery.failures + 1
    if outcome.reason is None:
        state, delay = "delivered", None
    elif outcome.is_final or failures >= _MAX_FAILURES:
        state, delay = "failed", None
    else:
        state, delay = "pending", delay_seconds(failures)
    with statement(process.engine) as conn:
        webhooks.record(
            conn,
            ticket,
            state=state,
            reason=outcome.reason,
            http_status=outcome.http_status,
            delay_seconds=delay,
        )
    log.info(
        f"webhook.{state}",
        task_id=delivery.task_id,
        attempt=ticket.attempt,
        reason=outcome.reason,
        http_status=outcome.http_status,
    )


def delay_seconds(failures: int) -> float:
    """Return the pause after so many failures (at least 1): doubling from 5 s to an hour."""
    return float(min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** (failures - 1)))


def body_of(delivery: Delivery) -> bytes:
    """Return what is sent: the event as on a stream, and what came of the task unless that is too large."""
    told = {
        "task_id": delivery.task_id,
        "seq": delivery.seq,
        "type": delivery.type,
        "timestamp": delivery.occurred_at.isoformat(),
        "data": delivery.payload,
        "status": delivery.status,
        "error": delivery.error,
    }
    whole = json.dumps({**told, "result": delivery.result}, ensure_ascii=False).encode()
    if len(whole) <= MAX_BODY_BYTES:
        return whole
    return json.dumps({**told, "result": None, "result_omitted": True}, ensure_ascii=False).encode()


def headers_of(settings: Settings, delivery: Delivery, body: bytes, *, now: int) -> dict[str, str]:
    """Return the headers, with a signature over id, timestamp and body by https://www.standardwebhooks.com.

    The X-OctoLLM headers are those of release 0.1, kept for one more release.
    """
    secret = credential.webhook_secret(settings, delivery.tenant)
    delivery_id = f"{delivery.task_id}:{delivery.seq}"
    signature = Webhook(secret).sign(delivery_id, datetime.fromtimestamp(now, tz=UTC), body.decode())
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature,
        "Content-Type": "application/json",
        "User-Agent": "OctoLLM-Webhook/1",
        "X-OctoLLM-Event": delivery.type,
        "X-OctoLLM-Delivery": delivery_id,
        "X-OctoLLM-Timestamp": str(now),
        "X-OctoLLM-Signature": f"sha256={credential.sign_webhook(secret, timestamp=now, body=body)}",
    }


def _attempt(settings: Settings, delivery: Delivery) -> Outcome:
    body = body_of(delivery)
    headers = headers_of(settings, delivery, body, now=int(time.time()))
    try:
        target = parse_callback(
            delivery.url,
            allowed_hosts=settings.webhook_allowed_hosts,
            local_targets=settings.webhook_local_targets,
        )
    except InvalidInput:
        return Outcome("host_not_allowed", is_final=True)
    is_local = f"{target.host}:{target.port}" in settings.webhook_local_targets
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        addresses = _resolve(target, deadline=deadline, is_local=is_local)
        status = _post(target, addresses, body=body, headers=headers, deadline=deadline)
    except Undeliverable as refused:
        return Outcome(str(refused))
    except TimeoutError:
        return Outcome("timeout")
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline:
            return Outcome("timeout")
        return Outcome("tls_failed" if isinstance(error, ssl.SSLError) else "connection_failed")
    if 200 <= status < 300:
        return Outcome(None, status)
    return Outcome("redirect_refused" if 300 <= status < 400 else "http_error", status, status == _GONE)


def _resolve(target: CallbackTarget, *, deadline: float, is_local: bool) -> list[str]:
    """Return the host's addresses, all of which must be public: the connection goes to one, not to the name."""
    found: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers = []
        found.put([str(answer[4][0]) for answer in answers])

    # the resolver takes no deadline
    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        addresses = list(dict.fromkeys(found.get(timeout=max(0.0, deadline - time.monotonic()))))
    except queue.Empty:
        raise Undeliverable("name_not_resolved") from None
    if not addresses:
        raise Undeliverable("name_not_resolved")
    if not is_local and not all(is_public(address) for address in addresses):
        raise Undeliverable("address_not_public")
    return addresses


class _Pinned(http.client.HTTPSConnection):
    """HTTPS to the first of some addresses that takes it, its certificate checked against the name."""

    def __init__(self, target: CallbackTarget, addresses: Sequence[str], *, deadline: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(target.host, target.port, context=self._tls)
        self._addresses = addresses
        self._deadline = deadline

    def connect(self) -> None:
        """Connect to an address that was checked: asking the resolver again could give another one.

        One after the other gets its share of the time that is left. Raises what the last one did.
        """
        for number, address in enumerate(self._addresses):
            share = self._left() / (len(self._addresses) - number)
            try:
                self._connect_to(address, seconds=share)
            except OSError as error:
                fault = error
            else:
                self.sock.settimeout(self._left())
                return
        raise fault

    def _connect_to(self, address: str, *, seconds: float) -> None:
        plain = socket.create_connection((address, self.port), seconds)
        # the watchdog finds the connection from here on, and what it came too early for is late
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        try:
            self._left()
            self.sock.do_handshake()
        except OSError:
            self.sock.close()
            raise

    def _left(self) -> float:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


def _post(
    target: CallbackTarget,
    addresses: Sequence[str],
    *,
    body: bytes,
    headers: Mapping[str, Any],
    deadline: float,
) -> int:
    """Return the status of the answer, whose body nobody reads; redirects are not followed."""
    connection = _Pinned(target, addresses, deadline=deadline)
    # a socket's timeout begins anew with each byte: this one does not
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", target.path, body=body, headers=dict(headers))
        return connection.getresponse().status
    finally:
        watchdog.cancel()
        connection.close()


def _cut(connection: http.client.HTTPSConnection) -> None:
    if connection.sock is not None:
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("webhook.closed_already")

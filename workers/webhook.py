"""Delivers a webhook: signs it, sends it to a checked public address within limits, and records the outcome."""

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
# longer than a message waits in the queue and is processed
LEASE_SECONDS = 60.0
_FIRST_DELAY_SECONDS = 5.0
_LONGEST_DELAY_SECONDS = 3600.0
_MAX_FAILURES = 15
_GONE = 410

log = structlog.get_logger(__name__)


class DeliveryOutcome(NamedTuple):
    """The outcome of one delivery; `reason` is None when it succeeded, `is_final` rules out another try."""

    reason: str | None
    http_status: int | None = None
    is_final: bool = False


class Undeliverable(Exception):
    """The target must not be contacted; holds the reason's code."""


def deliver(process: WorkerProcess, ticket: DeliveryLease) -> None:
    """Try a delivery once and record the outcome; does nothing for a ticket that another worker took over.

    Delivers at least once: a receiver whose answer is lost gets it again, with the same task_id and seq.
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
    """Return the pause after `failures` (at least 1): it doubles from 5 s up to an hour."""
    return float(min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** (failures - 1)))


def body_of(delivery: Delivery, *, public_url: str | None = None) -> bytes:
    """Return the body: the event as on a stream, and the task's result unless that is too large.

    An event about an approval has its address if the API's `public_url` is known. The address grants nothing: who
    submits a task chooses its callback_url, and must not get the right to decide by it.
    """
    event: dict[str, Any] = {
        "task_id": delivery.task_id,
        "seq": delivery.seq,
        "type": delivery.type,
        "timestamp": delivery.occurred_at.isoformat(),
        "data": delivery.payload,
        "status": delivery.status,
        "error": delivery.error,
    }
    if public_url and delivery.type.startswith("approval."):
        event["links"] = {"approval": f"{public_url}/v1/approvals/{delivery.payload['approval_id']}"}
    whole = json.dumps({**event, "result": delivery.result}, ensure_ascii=False).encode()
    if len(whole) <= MAX_BODY_BYTES:
        return whole
    return json.dumps({**event, "result": None, "result_omitted": True}, ensure_ascii=False).encode()


def headers_of(settings: Settings, delivery: Delivery, body: bytes, *, now: int) -> dict[str, str]:
    """Return the headers; the signature covers "<timestamp>.<body>", so that neither can be exchanged."""
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


def _attempt(settings: Settings, delivery: Delivery) -> DeliveryOutcome:
    body = body_of(delivery, public_url=settings.public_url)
    headers = headers_of(settings, delivery, body, now=int(time.time()))
    try:
        target = parse_callback(
            delivery.url,
            allowed_hosts=settings.webhook_allowed_hosts,
            local_targets=settings.webhook_local_targets,
        )
    except InvalidInput:
        return DeliveryOutcome("host_not_allowed", is_final=True)
    is_local = f"{target.host}:{target.port}" in settings.webhook_local_targets
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        addresses = _resolve(target, deadline=deadline, is_local=is_local)
        status = _post(target, addresses, body=body, headers=headers, deadline=deadline)
    except Undeliverable as refused:
        return DeliveryOutcome(str(refused))
    except TimeoutError:
        return DeliveryOutcome("timeout")
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline:
            return DeliveryOutcome("timeout")
        return DeliveryOutcome("tls_failed" if isinstance(error, ssl.SSLError) else "connection_failed")
    if 200 <= status < 300:
        return DeliveryOutcome(None, status)
    return DeliveryOutcome(
        "redirect_refused" if 300 <= status < 400 else "http_error", status, status == _GONE
    )


def _resolve(target: CallbackTarget, *, deadline: float, is_local: bool) -> list[str]:
    """Return the host's addresses, all of which must be public; the connection uses one of them, not the name."""
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
    """An HTTPS connection to the first address that accepts it; the certificate is checked against the host name."""

    def __init__(self, target: CallbackTarget, addresses: Sequence[str], *, deadline: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(target.host, target.port, context=self._tls)
        self._addresses = addresses
        self._deadline = deadline

    def connect(self) -> None:
        """Connect to one of the checked addresses, because another DNS lookup could return an unchecked one.

        Tries them in turn, each for an equal share of the time that is left. Raises the last one's error.
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
        # from here on the watchdog timer can close the socket; a timer that fired before is noticed by _left
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
    """Return the answer's status; does not read its body and does not follow redirects."""
    connection = _Pinned(target, addresses, deadline=deadline)
    # a socket's timeout restarts with each byte received: this timer limits the whole exchange
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", target.path, body=body, headers=dict(headers))
        return connection.getresponse().status
    finally:
        watchdog.cancel()
        connection.close()


def _shut_down(connection: http.client.HTTPSConnection) -> None:
    if connection.sock is not None:
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("webhook.closed_already")

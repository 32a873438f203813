"""Delivers a webhook: signs it, sends it to a checked public address within limits, and records the outcome."""

import http.client
import json
import ssl
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from standardwebhooks import Webhook

from orchestrator.auth import credential
from orchestrator.auth.egress import EgressRules, parse_target
from orchestrator.auth.pinned import Unreachable, connect_to
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
        target = parse_target(delivery.url, EgressRules.for_webhooks(settings))
    except InvalidInput:
        return DeliveryOutcome("host_not_allowed", is_final=True)
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        with connect_to(target, deadline=deadline) as connection:
            connection.request("POST", target.path, body=body, headers=headers)
            status = connection.getresponse().status
    except Unreachable as refused:
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

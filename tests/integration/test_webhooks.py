"""A webhook delivers the end of a task: signed, at least once, and only to hosts that the operator allowed."""

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.auth.credential import webhook_secret
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.devserver.child_process import free_port
from orchestrator.lifecycle import cancel
from orchestrator.memory import webhooks
from orchestrator.memory.hints import Hints
from orchestrator.memory.webhooks import DeliveryLease
from orchestrator.models.errors import InvalidInput
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.tls import Received, Reply, Served, make_certificate, serve
from workers import webhook


class Receiver:
    """A client's server: sends the test's replies in order, then repeats the last one."""

    def __init__(self) -> None:
        self.replies = [Reply(204)]
        self.pause_seconds = 0.0

    def answer(self, _: Received) -> Reply:
        time.sleep(self.pause_seconds)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def served(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A receiver on 127.0.0.1; its port is free on the other loopback addresses too, where the tests listen."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serve(certificate, receiver.answer, port=free_port()) as running:
        yield running


@pytest.fixture
def process(engineer: Engineer, served: Served) -> WorkerProcess:
    """A worker that may reach the receiver."""
    chosen = replace(engineer.settings, webhook_local_targets=(f"localhost:{served.port}",))
    engineer.settings = chosen
    return WorkerProcess(
        chosen, engineer.engine, Hints(chosen.redis_url), make_app(lambda: chosen), owner="me"
    )


def end_one(engineer: Engineer, url: str) -> str:
    """Submit a task with a callback and cancel it; return its id."""
    task_id = engineer.start(wait_step("a"), callback_url=url)
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    return task_id


def tickets(engineer: Engineer, *, lease_seconds: float = 60) -> list[DeliveryLease]:
    with statement(engineer.engine) as conn:
        return webhooks.take_due(conn, lease_seconds=lease_seconds, limit=10)


def row(engineer: Engineer, task_id: str) -> dict[str, object]:
    return engineer.ask("SELECT * FROM webhooks WHERE task_id = %(id)s", id=task_id)[0]


def test_the_end_of_a_task_is_delivered_and_signed(
    engineer: Engineer, process: WorkerProcess, served: Served
) -> None:
    task_id = end_one(engineer, f"{served.url}/hook?x=1")
    (ticket,) = tickets(engineer)

    webhook.deliver(process, ticket)

    (came,) = served.received
    body, last = json.loads(came.body), engineer.events(task_id)[-1]
    timestamp, signature = came.headers["X-OctoLLM-Timestamp"], came.headers["X-OctoLLM-Signature"]
    secret = webhook_secret(process.settings, TENANT).encode()
    expected = hmac.new(secret, timestamp.encode() + b"." + came.body, hashlib.sha256).hexdigest()
    assert came.path == "/hook?x=1"
    assert signature == f"sha256={expected}"
    assert abs(int(timestamp) - time.time()) < 10
    assert (body["task_id"], body["seq"], body["type"]) == (task_id, last.seq, "task.cancelled")
    assert (body["status"], body["error"]["code"]) == ("cancelled", "cancelled")
    assert came.headers["X-OctoLLM-Delivery"] == f"{task_id}:{last.seq}"
    assert row(engineer, task_id)["state"] == "delivered"
    assert tickets(engineer) == []
    (decision,) = engineer.ask("SELECT payload FROM traces WHERE kind = 'webhook'")
    assert decision["payload"]["outcome"] == "delivered"


def test_a_verifier_of_standard_webhooks_accepts_the_delivery_and_no_other_body(
    engineer: Engineer, process: WorkerProcess, served: Served
) -> None:
    task_id = end_one(engineer, f"{served.url}/")

    webhook.deliver(process, tickets(engineer)[0])

    (came,) = served.received
    secret = webhook_secret(process.settings, TENANT)
    signed = f"{came.headers['webhook-id']}.{came.headers['webhook-timestamp']}.".encode() + came.body
    expected = hmac.new(base64.b64decode(secret), signed, hashlib.sha256).digest()
    assert came.headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert came.headers["webhook-id"] == f"{task_id}:{engineer.events(task_id)[-1].seq}"
    assert Webhook(secret).verify(came.body, came.headers)["task_id"] == task_id
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(came.body + b" ", came.headers)


def test_a_failed_delivery_is_retried_later_with_the_same_number(
    engineer: Engineer, process: WorkerProcess, served: Served, receiver: Receiver
) -> None:
    receiver.replies = [Reply(500), Reply(200)]
    task_id = end_one(engineer, f"{served.url}/")
    webhook.deliver(process, tickets(engineer)[0])

    failed = row(engineer, task_id)
    assert (failed["state"], failed["failures"], failed["reason"]) == ("pending", 1, "http_error")
    assert tickets(engineer) == []
    engineer.ask("UPDATE webhooks SET due = now()")
    webhook.deliver(process, tickets(engineer)[0])

    assert row(engineer, task_id)["state"] == "delivered"
    assert len({came.headers["X-OctoLLM-Delivery"] for came in served.received}) == 1


def test_a_lost_message_is_published_again_and_the_old_one_does_nothing(
    engineer: Engineer, process: WorkerProcess, served: Served
) -> None:
    end_one(engineer, f"{served.url}/")
    (lost,) = tickets(engineer, lease_seconds=0)
    (ticket,) = tickets(engineer)

    webhook.deliver(process, lost)
    before = len(served.received)
    webhook.deliver(process, ticket)
    webhook.deliver(process, ticket)

    assert (before, len(served.received)) == (0, 1)


@pytest.mark.parametrize(
    ("reply", "state", "reason"),
    [
        (Reply(302, headers=(("Location", "https://localhost/"),)), "pending", "redirect_refused"),
        (Reply(410), "failed", "http_error"),
        (Reply(404), "pending", "http_error"),
    ],
)
def test_an_answer_outside_2xx_is_a_failed_delivery(
    engineer: Engineer,
    process: WorkerProcess,
    *,
    served: Served,
    receiver: Receiver,
    reply: Reply,
    state: str,
    reason: str,
) -> None:
    receiver.replies = [reply]
    task_id = end_one(engineer, f"{served.url}/")

    webhook.deliver(process, tickets(engineer)[0])

    assert (row(engineer, task_id)["state"], row(engineer, task_id)["reason"]) == (state, reason)
    assert row(engineer, task_id)["http_status"] == reply.status
    assert len(served.received) == 1


def test_a_delivery_is_given_up_after_15_failures(
    engineer: Engineer, process: WorkerProcess, served: Served, receiver: Receiver
) -> None:
    receiver.replies = [Reply(503)]
    task_id = end_one(engineer, f"{served.url}/")
    engineer.ask("UPDATE webhooks SET failures = 14")

    webhook.deliver(process, tickets(engineer)[0])

    assert row(engineer, task_id)["state"] == "failed"


def test_a_slow_receiver_is_cut_off(
    engineer: Engineer,
    process: WorkerProcess,
    served: Served,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECONDS", 0.5)
    receiver.pause_seconds = 2
    task_id = end_one(engineer, f"{served.url}/")
    started = time.monotonic()

    webhook.deliver(process, tickets(engineer)[0])

    assert time.monotonic() - started < 1.5
    assert row(engineer, task_id)["reason"] == "timeout"


def test_an_untrusted_certificate_is_refused(
    engineer: Engineer, process: WorkerProcess, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    task_id = end_one(engineer, f"{served.url}/")

    webhook.deliver(process, tickets(engineer)[0])

    assert row(engineer, task_id)["reason"] == "tls_failed"
    assert served.received == []


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"], []]
)
def test_a_name_that_resolves_to_a_private_address_is_not_contacted(
    engineer: Engineer, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """The operator allowed the name, but the name's owner may point it to any address."""
    allowed = replace(process.settings, webhook_allowed_hosts=("hooks.example.com",))
    engineer.settings = allowed
    task_id = end_one(engineer, "https://hooks.example.com/")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    def no_connection(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", no_connection)
    webhook.deliver(replace(process, settings=allowed), tickets(engineer)[0])

    expected = "address_not_public" if addresses else "name_not_resolved"
    assert row(engineer, task_id)["reason"] == expected


def resolve_to(monkeypatch: pytest.MonkeyPatch, port: int, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    ask = socket.getaddrinfo

    def answer(host: str, *where: Any, **how: Any) -> Any:
        return found if host == "localhost" else ask(host, *where, **how)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_the_next_address_is_tried_when_one_refuses_the_connection(
    engineer: Engineer, process: WorkerProcess, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = end_one(engineer, f"{served.url}/")
    resolve_to(monkeypatch, served.port, "127.0.0.2", "127.0.0.2", "127.0.0.1")

    webhook.deliver(process, tickets(engineer)[0])

    assert row(engineer, task_id)["state"] == "delivered"
    assert len(served.received) == 1


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    engineer: Engineer, process: WorkerProcess, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECONDS", 2.0)
    task_id = end_one(engineer, f"{served.url}/")
    resolve_to(monkeypatch, served.port, "127.0.0.2", "127.0.0.1")

    with socket.create_server(("127.0.0.2", served.port)):
        webhook.deliver(process, tickets(engineer)[0])

    assert row(engineer, task_id)["state"] == "delivered"


def test_all_addresses_share_the_time_limit_of_one_delivery(
    engineer: Engineer, process: WorkerProcess, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECONDS", 0.5)
    silent = [f"127.0.0.{number}" for number in range(2, 6)]
    task_id = end_one(engineer, f"{served.url}/")
    resolve_to(monkeypatch, served.port, *silent)
    started = time.monotonic()

    with ExitStack() as listening:
        for address in silent:
            listening.enter_context(socket.create_server((address, served.port)))
        webhook.deliver(process, tickets(engineer)[0])

    assert time.monotonic() - started < 3
    assert row(engineer, task_id)["reason"] == "timeout"


def test_a_trickling_handshake_gets_no_extra_time(
    engineer: Engineer, process: WorkerProcess, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECONDS", 0.5)
    task_id = end_one(engineer, f"{served.url}/")
    resolve_to(monkeypatch, served.port, "127.0.0.2")
    is_over = Event()

    def trickle(listening: socket.socket) -> None:
        link, _ = listening.accept()
        with link, suppress(OSError):
            # the header of a TLS record of 16 KiB
            link.sendall(b"\x16\x03\x03\x40\x00")
            while not is_over.wait(0.05):
                link.sendall(b"\x00")

    started = time.monotonic()
    with socket.create_server(("127.0.0.2", served.port)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(trickle, listening)
        webhook.deliver(process, tickets(engineer)[0])
        is_over.set()

    assert time.monotonic() - started < 3
    assert row(engineer, task_id)["reason"] in {"timeout", "tls_failed"}


def test_after_an_answer_the_next_address_is_not_tried(
    engineer: Engineer,
    process: WorkerProcess,
    *,
    served: Served,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.replies = [Reply(500)]
    task_id = end_one(engineer, f"{served.url}/")
    resolve_to(monkeypatch, served.port, "127.0.0.1", "127.0.0.2")

    webhook.deliver(process, tickets(engineer)[0])

    assert row(engineer, task_id)["http_status"] == 500
    assert len(served.received) == 1


def test_a_host_that_is_no_longer_allowed_gets_nothing(
    engineer: Engineer, process: WorkerProcess, served: Served
) -> None:
    task_id = end_one(engineer, f"{served.url}/")

    stricter = replace(process.settings, webhook_local_targets=())
    webhook.deliver(replace(process, settings=stricter), tickets(engineer)[0])

    assert (row(engineer, task_id)["state"], row(engineer, task_id)["reason"]) == (
        "failed",
        "host_not_allowed",
    )
    assert served.received == []


def test_a_result_that_is_too_large_is_left_out(
    engineer: Engineer, process: WorkerProcess, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "MAX_BODY_BYTES", 10)
    end_one(engineer, f"{served.url}/")

    webhook.deliver(process, tickets(engineer)[0])

    body = json.loads(served.received[0].body)
    assert (body["result"], body["result_omitted"]) == (None, True)


def test_tasks_without_a_callback_have_no_delivery(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    assert tickets(engineer) == []


def test_a_callback_is_refused_when_no_host_is_allowed(engineer: Engineer, our_settings: Settings) -> None:
    assert our_settings.webhook_allowed_hosts == ()

    with pytest.raises(InvalidInput, match="webhooks are switched off"):
        engineer.submit(wait_step("a"), callback_url="https://hooks.example.com/")


def test_each_tenant_has_its_own_secret(our_settings: Settings) -> None:
    assert webhook_secret(our_settings, "acme") != webhook_secret(our_settings, "umbrella")


def test_the_pause_doubles_up_to_an_hour() -> None:
    assert [webhook.delay_seconds(failures) for failures in (1, 2, 3, 10, 15)] == [5, 10, 20, 2560, 3600]

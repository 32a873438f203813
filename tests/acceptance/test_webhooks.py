"""Webhooks with real processes: a server is notified of a task's end, with retries until it accepts."""

import json
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import sign_webhook
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect
from tests.tls import Received, Reply, serve
from tests.waiting import wait_until


@pytest.mark.slow
def test_a_receiver_that_refuses_at_first_is_notified_again(
    stack: Stack, client: Client, certificate: Path, webhook_port: int
) -> None:
    replies = iter([Reply(503), Reply(204)])

    def reply(_: Received) -> Reply:
        return next(replies, Reply(204))

    with serve(certificate, reply, port=webhook_port) as served:
        task = client.run(plan={"steps": [collect("a", [1])]}, callback_url=f"{served.url}/hook")
        wait_until(lambda: len(served.received) >= 2, 30, "two attempts")

        first, second = served.received

    told = json.loads(second.body)
    secret = credential.webhook_secret(settings.load(stack.environ), "acme")
    timestamp = int(second.headers["X-OctoLLM-Timestamp"])
    signature = sign_webhook(secret, timestamp=timestamp, body=second.body)
    assert first.headers["X-OctoLLM-Delivery"] == second.headers["X-OctoLLM-Delivery"]
    assert second.headers["X-OctoLLM-Signature"] == f"sha256={signature}"
    assert (told["type"], told["task_id"]) == ("task.completed", task["task_id"])
    assert told["result"]["output"] == task["result"]["output"]
    outcomes = [
        line["data"]["outcome"] for line in client.trace(task["task_id"]) if line["kind"] == "webhook"
    ]
    assert outcomes[0] == "pending"


def test_a_host_that_is_not_allowed_is_refused_at_submission(client: Client) -> None:
    answer = client.call("POST", "/v1/tasks", {"goal": "do it", "callback_url": "https://example.com/"})

    assert (answer.status, answer.body["details"]["errors"][0]["field"]) == (422, "callback_url")

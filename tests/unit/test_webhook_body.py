"""The body of a webhook: the event as on a stream, and for an approval where it can be decided."""

import json
from datetime import UTC, datetime
from typing import Any

from orchestrator.memory.webhooks import Delivery
from workers.webhook import body_of

URL = "https://octo.example.com"


def body(kind: str, payload: dict[str, Any], public_url: str | None) -> dict[str, Any]:
    delivery = Delivery(
        task_id="task_0PxK3mQa7Zb81CdE",
        seq=4,
        attempt=1,
        failures=0,
        tenant="acme",
        url="https://example.com/hook",
        type=kind,
        occurred_at=datetime(2026, 11, 22, tzinfo=UTC),
        payload=payload,
        status="processing",
        result=None,
        error=None,
    )
    return dict(json.loads(body_of(delivery, public_url=public_url)))


def test_an_approval_s_webhook_has_its_address_if_the_operator_set_a_public_url() -> None:
    """Not a link that decides: whoever submits a task chooses where its webhooks go."""
    payload = {"approval_id": "appr_0PxK3mQa7Zb81CdE", "ask": "Write?"}

    with_url = body("approval.requested", payload, URL)
    without = body("approval.requested", payload, None)

    assert with_url["links"] == {"approval": f"{URL}/v1/approvals/appr_0PxK3mQa7Zb81CdE"}
    assert with_url["data"] == payload
    assert (with_url["type"], with_url["status"], with_url["seq"]) == ("approval.requested", "processing", 4)
    assert "links" not in without


def test_other_webhooks_have_no_links() -> None:
    assert "links" not in body("task.completed", {}, URL)

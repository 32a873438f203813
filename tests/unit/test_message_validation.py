"""Messages of ours are read from a queue; anything else there is refused."""

import base64
import json
from typing import Any

import pytest

from orchestrator.queue import message_validation

TASKS = ("tasks.step",)


def in_base64(body: bytes) -> str:
    return base64.b64encode(body).decode()


def made(*, headers: Any = None, properties: Any = None, **changes: Any) -> bytes:
    good: dict[str, Any] = {
        "body": "W1sidGFzayIsICJhIl0sIHt9LCB7fV0=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "task": "tasks.step",
            "id": "b7d0",
            "eta": None,
            "timelimit": [None, None],
            **(headers or {}),
        },
        "properties": {
            "delivery_tag": "9a4f-1",
            "delivery_info": {"exchange": "", "routing_key": "arm.coder"},
            "body_encoding": "base64",
            "priority": 3,
            "correlation_id": "b7d0",
            "reply_to": "x",
            **(properties or {}),
        },
    }
    return json.dumps({**good, **changes}).encode()


def test_a_message_of_ours_is_read() -> None:
    assert message_validation.read(made(), known_tasks=TASKS)["headers"]["id"] == "b7d0"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04\x95",
        b"\xff\xfe{}",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'"' + b"x" * message_validation.MAX_BYTES + b'"',
        made(body=None),
        made(body={}),
        made(**{"content-type": "application/x-python-serialize"}),
        made(**{"content-encoding": "binary"}),
        json.dumps({**json.loads(made()), "headers": []}).encode(),
        json.dumps({**json.loads(made()), "properties": None}).encode(),
        made(headers={"task": ["a"]}),
        made(headers={"task": "os.system"}),
        made(headers={"id": {}}),
        made(headers={"id": "a\0b"}),
        made(headers={"id": "x" * 300}),
        made(headers={"compression": "application/x-gzip"}),
        made(headers={"eta": "2999-01-01T00:00:00"}),
        made(headers={"expires": "x"}),
        made(properties={"delivery_tag": None}),
        made(properties={"delivery_tag": []}),
        made(properties={"delivery_info": {}}),
        made(properties={"delivery_info": {"exchange": 1, "routing_key": "x"}}),
        made(properties={"body_encoding": "rot13"}),
        made(properties={"priority": "high"}),
        made(properties={"priority": 99}),
        made(properties={"reply_to": []}),
        made(headers={"timelimit": "x"}),
        made(headers={"timelimit": [None, "x"]}),
        made(headers={"retries": "x"}),
        made(headers={"shadow": {}}),
        made(headers={"stamped_headers": 5}),
        made(body="%%%"),
        made(body=in_base64(b"5")),
        made(body=in_base64(b"\xff\xfe")),
        made(body=in_base64(b"[" * 100_000)),
        made(body=in_base64(b"[1, 2, 3]")),
        made(body=in_base64(b'[[], {}, {"chord": 5}]')),
    ],
)
def test_a_foreign_message_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(its?|what) "):
        message_validation.read(raw, known_tasks=TASKS)

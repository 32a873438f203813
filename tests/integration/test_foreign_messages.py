"""What somebody else put on a queue stops no worker and holds none of its slots."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from orchestrator import bootstrap
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from orchestrator.settings import Settings
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until

PLANNER = ["-m", "celery", "-A", "workers", "worker", "-Q", "planner", "-P", "threads", "-c", "1"]


def envelope(body: bytes, *, headers: Any = None, properties: Any = None, **changes: Any) -> bytes:
    good: dict[str, Any] = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "tasks.plan", "id": "b7d0", **(headers or {})},
        "properties": {
            "delivery_tag": f"forged-{os.urandom(4).hex()}",
            "delivery_info": {"exchange": "", "routing_key": "planner"},
            "body_encoding": "base64",
            **(properties or {}),
        },
    }
    return json.dumps({**good, **changes}).encode()


FOREIGN = [
    b"\x80\x04\x95 pickled",
    b"{not json",
    b"null",
    b"[" * 100_000,
    b'"' + b"x" * 10_000_000 + b'"',
    envelope(b"[[], {}, {}]", headers={"task": "os.system"}),
    envelope(b"[[], {}, {}]", headers={"id": ["unhashable"]}),
    envelope(b"[[], {}, {}]", headers={"compression": "application/x-gzip"}),
    envelope(b"[[], {}, {}]", **{"content-type": "application/x-python-serialize"}),
    envelope(b"[[], {}, {}]", properties={"delivery_info": {}}),
    # an envelope as ours with a body that is none
    envelope(b"5"),
    envelope(b"\xff\xfe"),
    envelope(b"[" * 100_000),
    envelope(b'{"__type__": "uuid", "__value__": "zzz"}'),
    envelope(b"[1, 2, 3]"),
    envelope(b'[["no such task", "$plan"], {}, {"chord": 5, "errbacks": 7}]'),
    envelope(b"[[], {}, {}]", headers={"stamped_headers": 5, "timelimit": "x", "retries": []}),
]


def test_a_worker_outlives_what_is_no_message_keeps_its_slots_and_takes_no_orders(
    our_settings: Settings, engineer: Engineer, redis_url: str, tmp_path: Path
) -> None:
    orchestrator = bootstrap.for_api(our_settings)
    log = tmp_path / "worker.log"

    def plan_one_more() -> None:
        contract = Contract(goal="do it", plan={"steps": [wait_step("a")]})
        task_id = orchestrator.submit(Caller(TENANT), contract).task_id
        done = "SELECT id FROM steps WHERE name = '$plan' AND state = 'done' AND task_id = %(id)s"
        wait_until(lambda: bool(engineer.ask(done, id=task_id)), 40, "a plan", every=0.1)

    with redis.Redis.from_url(redis_url) as client, log.open("w") as written:
        client.hset("unacked", "forged", b"no JSON either")
        client.hset("unacked", "forged-too", b'["a", 1]')
        client.zadd("unacked_index", {"forged": 1, "forged-too": 1})
        worker = subprocess.Popen([sys.executable, *PLANNER], stdout=written, stderr=subprocess.STDOUT)
        try:
            plan_one_more()
            client.lpush("planner", *FOREIGN)
            wait_until(lambda: client.llen("planner") == 0, 40, "the worker to take them", every=0.1)
            with Celery(broker=redis_url) as app:
                app.control.shutdown()
                app.control.rate_limit("tasks.plan", "1/h")
            plan_one_more()
            plan_one_more()

            assert worker.poll() is None
            assert client.hlen("unacked") == client.zcard("unacked_index") == 0
        finally:
            worker.terminate()
            worker.wait()
    told = log.read_text()
    assert told.count("broker.message_dropped") >= 10
    assert "Unrecoverable" not in told

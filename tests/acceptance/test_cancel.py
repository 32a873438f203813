"""A cancel stops running steps at once, before the next heartbeat, and frees their slots."""

import secrets
import time
from pathlib import Path

import redis
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from orchestrator.memory.hints import STOP_CHANNEL
from orchestrator.safety import archive
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.acceptance.proc import owner_of, row_of
from tests.waiting import wait_until

# the number of the executors' four slots that one tenant may use
SLOTS = 3


def busy(database: Engine) -> int:
    """Return the number of running steps that the executors report."""
    with database.connect() as conn:
        return int(
            conn.exec_driver_sql(
                "SELECT coalesce(sum(busy), 0) FROM pools WHERE arm = 'executor'"
            ).scalar_one()
        )


def running(mark: str) -> list[int]:
    """Return the processes whose command line contains `mark`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in line:
            found.append(int(entry.name))
    return found


def test_running_steps_are_stopped_at_once_and_their_slots_are_free(client: Client, database: Engine) -> None:
    """Steps of 60 s hold every slot that a tenant may have; the next task starts as soon as they are cancelled."""
    steps = [wait(f"w{number}", 60) for number in range(SLOTS)]
    task_id = client.submit(plan={"steps": [*steps, wait("after", 0, "w0")]})
    for step in steps:
        owner_of(database, task_id, step["id"])
    next_id = client.submit(plan={"steps": [wait("next", 0)]})

    cancelled_at = time.monotonic()
    answer = client.call("POST", f"/v1/tasks/{task_id}/cancel", {"reason": "not needed"})
    following = client.end_of(next_id, timeout=30)
    seconds = time.monotonic() - cancelled_at

    was = {step["step_id"]: step["was"] for step in answer.body["stopped"]}
    assert (answer.status, answer.body["status"]) == (200, "cancelled")
    assert was == {**{step["id"]: "running" for step in steps}, "after": "blocked"}
    assert following["status"] == "completed"
    assert seconds < 3, "a slot was not free at once"
    assert {row_of(database, task_id, step["id"])["state"] for step in steps} == {"cancelled"}
    again = client.call("DELETE", f"/v1/tasks/{task_id}")
    assert (again.status, again.body["stopped"]) == (200, [])
    wait_until(lambda: busy(database) == 0, 15, "idle pools")


def test_a_tool_in_its_sandbox_is_killed(client: Client, database: Engine, tmp_path: Path) -> None:
    """A test suite that would run for a minute and ignores SIGTERM ends with its task."""
    mark = f"cancelled_{secrets.token_hex(8)}"
    (tmp_path / f"test_{mark}.py").write_text(
        "import signal, time\n\ndef test_long():\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(60)\n"
    )
    suite = client.upload(archive.pack(tmp_path), filename="suite.tar.gz")
    step = {
        "id": "suite",
        "arm": "executor",
        "action": "tests",
        "inputs": {"attachment": suite, "paths": [f"test_{mark}.py"]},
    }
    task_id = client.submit(plan={"steps": [step]}, attachments=[suite])
    owner_of(database, task_id, "suite")
    wait_until(lambda: running(mark), 30, "the tool to run")

    client.call("DELETE", f"/v1/tasks/{task_id}")

    wait_until(lambda: not running(mark), 3, "the tool to be killed")


def test_a_deadline_stops_running_steps_in_the_same_way(client: Client, database: Engine) -> None:
    budget = {"max_time_seconds": 2}
    task_ids = [
        client.submit(plan={"steps": [wait("long", 60, timeout_seconds=120)]}, budget=budget)
        for _ in range(SLOTS)
    ]

    ended = [client.end_of(task_id, timeout=30) for task_id in task_ids]
    freed_at = time.monotonic()
    following = client.run(plan={"steps": [wait("next", 0)]}, timeout=30)

    assert {task["error"]["code"] for task in ended} == {"deadline_exceeded"}
    assert following["status"] == "completed"
    assert time.monotonic() - freed_at < 3


def test_a_cancel_before_the_start_wins(client: Client, database: Engine) -> None:
    """A cancelled step that is still queued never starts, and its message has no effect."""
    blocker = client.submit(plan={"steps": [wait(f"b{number}", 60) for number in range(SLOTS)]})
    for number in range(SLOTS):
        owner_of(database, blocker, f"b{number}")
    task_id = client.submit(plan={"steps": [wait("late", 0)]})
    wait_until(lambda: row_of(database, task_id, "late").get("state") == "queued", 20, "a queued step")

    cancelled = client.call("DELETE", f"/v1/tasks/{task_id}")
    client.call("DELETE", f"/v1/tasks/{blocker}")
    client.run(plan={"steps": [wait("next", 0)]}, timeout=30)

    assert [step["was"] for step in cancelled.body["stopped"]] == ["queued"]
    assert (row_of(database, task_id, "late")["state"], row_of(database, task_id, "late")["attempt"]) == (
        "cancelled",
        0,
    )


def test_a_false_hint_stops_nothing(stack: Stack, client: Client, database: Engine) -> None:
    """Any Redis client could publish a hint; Postgres decides which attempts have ended."""
    task_id = client.submit(plan={"steps": [wait("short", 1.5)]})
    owner_of(database, task_id, "short")

    with redis.Redis.from_url(stack.redis_url) as broker:
        heard = broker.publish(STOP_CHANNEL, task_id)
    task = client.end_of(task_id)

    assert heard > 0
    assert task["status"] == "completed"
    assert row_of(database, task_id, "short")["attempt"] == 1

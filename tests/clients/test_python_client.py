"""The Python client, sync and async, against a running stack."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from octollm_client import AsyncClient, Client, TaskFailed, WaitTimeout
from octollm_client.problems import InvalidPlan, ResourceNotFound
from octollm_client.types import TaskRequest
from orchestrator.devserver.stack import Stack
from tests.acceptance.plans import collect, verify, wait

MakeAsync = Callable[[], AsyncClient]


def test_run_returns_the_task_with_its_result(client: Client, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("three words here")

    task = client.run(
        "collect it",
        files=[notes, b"bytes"],
        plan={"steps": [collect("a", {"n": 3})], "result": {"n": {"$from": "a", "pointer": "/values/n"}}},
    )

    assert task["status"] == "completed"
    assert task["result"]["data"] == {"n": 3}


def test_a_task_that_fails_raises_with_its_last_status(client: Client) -> None:
    with pytest.raises(TaskFailed) as caught:
        client.run("no", plan={"steps": [verify("v", 1, {"pointer": "", "equals": 2})]})

    assert caught.value.task["status"] == "failed"
    assert caught.value.task_id.startswith("task_")


def test_waiting_has_a_limit_and_the_task_goes_on(client: Client) -> None:
    accepted = client.tasks.submit("slow", plan={"steps": [wait("w", 60)]})

    with pytest.raises(WaitTimeout) as caught:
        client.tasks.wait(accepted["task_id"], timeout=0.1)
    cancelled = client.tasks.cancel(accepted["task_id"], reason="enough")

    assert caught.value.task_id == accepted["task_id"]
    assert cancelled["status"] == "cancelled"
    assert client.tasks.wait(accepted["task_id"])["status"] == "cancelled"


def test_events_are_all_events_in_their_order(client: Client) -> None:
    accepted = client.tasks.submit("do it", plan={"steps": [wait("a"), wait("b", 0, "a")]})

    followed = list(client.tasks.events(accepted["task_id"]))

    assert [event["seq"] for event in followed] == list(range(1, len(followed) + 1))
    assert followed[0]["type"] == "task.submitted"
    assert followed[-1]["type"] == "task.completed"
    assert list(client.tasks.events(accepted["task_id"], after=len(followed))) == []


def test_no_event_is_lost_or_doubled_when_the_api_is_killed_meanwhile(stack: Stack, client: Client) -> None:
    steps = [wait(f"s{number}", 0.3, *([f"s{number - 1}"] if number else [])) for number in range(8)]
    accepted = client.tasks.submit("follow me", plan={"steps": steps})
    followed, killed = [], []

    for event in client.tasks.events(accepted["task_id"]):
        followed.append(event["seq"])
        if event["type"] == "step.completed" and event["data"]["step"] in ("s1", "s4"):
            for pid in stack.pids("web"):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    stored = client.tasks.get(accepted["task_id"])["event_seq"]
    assert len(set(killed)) >= 2
    assert followed == list(range(1, stored + 1))


def test_a_retry_may_change_an_input_and_reuse_the_rest(client: Client) -> None:
    first = client.run("wait", plan={"steps": [collect("a", [1]), wait("b", 0, "a")]})

    preview = client.tasks.preview_retry(first["task_id"], set={"inputs": {"b": {"seconds": 0.01}}})
    again = client.tasks.retry(first["task_id"], set={"inputs": {"b": {"seconds": 0.01}}})

    assert [step["step_id"] for step in preview["runs"]] == ["b"]
    assert client.tasks.wait(again["task_id"])["retry_of"] == first["task_id"]
    assert "step.reused" in [event["type"] for event in client.tasks.events(again["task_id"])]


def test_a_schedule_is_made_changed_and_deleted(stack: Stack, api_key: str) -> None:
    contract: TaskRequest = {"goal": "do it", "plan": {"steps": [wait("a")]}}
    with Client(stack.url, api_key=api_key) as client:
        made = client.schedules.create(name="nightly", contract=contract, every_seconds=3600)

        changed = client.schedules.update(made["schedule_id"], name="hourly")
        listed = [schedule["name"] for schedule in client.schedules.iterate(limit=1)]
        client.schedules.delete(made["schedule_id"])

        assert changed["name"] == "hourly"
        assert listed == ["hourly"]
        assert list(client.schedules.iterate()) == []


def test_a_file_comes_back_as_it_was_and_leaves_when_it_is_deleted(client: Client, tmp_path: Path) -> None:
    sent = tmp_path / "numbers.csv"
    sent.write_bytes(bytes(range(256)) * 4096)

    artifact = client.files.upload(sent)
    back = client.files.download_to(artifact["artifact_id"], tmp_path / "back.csv")
    whole = client.files.download(artifact["artifact_id"])
    client.files.delete(artifact["artifact_id"])

    assert (artifact["filename"], artifact["media_type"]) == ("numbers.csv", "text/csv")
    assert back.read_bytes() == whole == sent.read_bytes()
    with pytest.raises(ResourceNotFound):
        client.files.download(artifact["artifact_id"])


def test_an_error_has_the_class_of_its_code(client: Client) -> None:
    with pytest.raises(InvalidPlan) as caught:
        client.tasks.submit("x", plan={"steps": [{"id": "a", "arm": "nobody", "action": "none"}]})
    with pytest.raises(ResourceNotFound):
        client.tasks.get("task_0000000000000000")

    assert caught.value.code == "invalid_plan"
    assert caught.value.status == 422
    assert caught.value.details["errors"]
    assert caught.value.request_id


def test_an_api_key_is_exchanged_once(stack: Stack, api_key: str) -> None:
    with Client(stack.url, api_key=api_key) as client:
        before = client.tasks.list(limit=1)
        session = client.auth.session()

    assert before["tasks"] is not None
    assert session["tenant"] == "acme"


def test_the_async_client_does_the_same(async_client: MakeAsync, tmp_path: Path) -> None:
    async def scenario() -> tuple[str, list[int]]:
        async with async_client() as client:
            sent = tmp_path / "x.bin"
            sent.write_bytes(b"x" * 100_000)
            task = await client.run("do it", files=[sent], plan={"steps": [wait("a")]})
            stored = await client.files.upload(sent)
            assert (await client.files.download(stored["artifact_id"])) == sent.read_bytes()
            return task["status"], [event["seq"] async for event in client.tasks.events(task["task_id"])]

    status, numbers = asyncio.run(scenario())

    assert status == "completed"
    assert numbers == list(range(1, len(numbers) + 1))

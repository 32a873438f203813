"""A task's stream has each event once and in order until the last one, whenever it was opened."""

import contextlib
import json
import threading

import pytest
from sqlalchemy import Engine

from api.streaming.event_buffer import MAX_BEHIND
from orchestrator.chord.database import transaction
from orchestrator.memory.hints import Hints
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.integration.api.live_server import Api, EventWriter, serving
from tests.integration.kit import Engineer, verdict, wait_step
from tests.waiting import wait_until
from tests.ws import Rejected, WebSocket


def ended(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id


def numbers(messages: list[dict[str, int]]) -> list[int]:
    return [message["seq"] for message in messages]


def test_a_stream_replays_old_events_then_sends_new_ones_then_closes(
    api: Api, engineer: Engineer, event_writer: EventWriter
) -> None:
    task_id = engineer.start(wait_step("a"))
    before = len(engineer.events(task_id))

    with api.open(task_id) as stream:
        replayed = [stream.next() for _ in range(before)]
        event_writer.append(task_id, "step.progress", "step.progress")
        live = [stream.next(timeout=2) for _ in range(2)]
        event_writer.append(task_id, "task.completed")
        last = stream.rest()

    assert numbers(replayed + live + last) == list(range(1, before + 4))
    assert set(replayed[0]) == {"seq", "timestamp", "type", "data"}
    assert last[0]["type"] == "task.completed"
    assert stream.close_code == 1000


def test_streams_and_pages_have_the_same_events_in_the_same_format(api: Api, engineer: Engineer) -> None:
    task_id = ended(engineer)

    with api.open(task_id) as stream:
        streamed = stream.rest()
    _, _, page = api.get(f"/v1/tasks/{task_id}/events")
    _, _, sent = api.get(f"/v1/tasks/{task_id}/events", {"Accept": "text/event-stream"})

    lines = sent.splitlines()
    assert streamed == json.loads(page)["events"]
    assert [
        json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")
    ] == streamed
    assert [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")] == numbers(streamed)


def test_an_ended_task_is_replayed_from_any_number_and_closed(api: Api, engineer: Engineer) -> None:
    task_id = ended(engineer)
    last = len(engineer.events(task_id))

    for after in (0, 3, last - 1, last):
        with api.open(task_id, f"?after={after}") as stream:
            assert numbers(stream.rest()) == list(range(after + 1, last + 1))
            assert stream.close_code == 1000


@pytest.mark.slow
def test_an_event_whose_hint_was_lost_arrives_seconds_later(
    api: Api, engineer: Engineer, event_writer: EventWriter
) -> None:
    task_id = engineer.start(wait_step("a"))
    seen = len(engineer.events(task_id))

    with api.open(task_id, f"?after={seen}") as stream:
        event_writer.append(task_id, "step.progress", hint=False)

        assert stream.next(timeout=7)["seq"] == seen + 1


@pytest.mark.slow
def test_a_task_that_is_deleted_closes_its_streams(api: Api, engine: Engine, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    with api.open(task_id) as stream:
        with transaction(engine) as conn:
            conn.exec_driver_sql("SET LOCAL session_replication_role = replica")
            conn.exec_driver_sql("DELETE FROM tasks WHERE id = %(id)s", {"id": task_id})
        stream.rest(timeout=8)

    assert stream.close_code == 4404


@pytest.mark.slow
def test_streams_end_when_the_database_was_restored_to_a_time_before_their_last_event(
    api: Api, engine: Engine, engineer: Engineer
) -> None:
    """The API may live through a restore: what it has in memory is no longer true."""
    task_id = engineer.start(wait_step("a"))
    seen = len(engineer.events(task_id))

    with api.open(task_id, f"?after={seen}") as stream:
        with transaction(engine) as conn:
            conn.exec_driver_sql("SET LOCAL session_replication_role = replica")
            undo = {"id": task_id, "seq": seen}
            conn.exec_driver_sql("DELETE FROM events WHERE task_id = %(id)s AND seq = %(seq)s", undo)
            conn.exec_driver_sql("UPDATE tasks SET event_seq = %(seq)s - 1 WHERE id = %(id)s", undo)
        stream.rest(timeout=8)

    assert stream.close_code == 1001
    with pytest.raises(Rejected) as refused:
        api.open(task_id, f"?after={seen}")
    assert json.loads(refused.value.body)["details"] == {"after": seen, "last": seen - 1}


def test_a_page_after_an_event_that_does_not_exist_is_refused(api: Api, engineer: Engineer) -> None:
    """An empty page would let the client miss the events that the restored task goes on with."""
    task_id = engineer.start(wait_step("a"))
    last = len(engineer.events(task_id))

    status, _, page = api.get(f"/v1/tasks/{task_id}/events?after={last}")
    refused, _, problem = api.get(f"/v1/tasks/{task_id}/events?after={last + 1}")

    assert (status, json.loads(page)["events"], json.loads(page)["next_after"]) == (200, [], last)
    assert (refused, json.loads(problem)["code"]) == (409, "cursor_ahead")


def test_many_streams_under_load_get_each_event_exactly_once(
    api: Api, engineer: Engineer, event_writer: EventWriter
) -> None:
    task_ids = [engineer.start(wait_step("a")) for _ in range(3)]
    begun = {task_id: len(engineer.events(task_id)) for task_id in task_ids}
    received: list[tuple[str, list[int], int | None]] = []

    def listen(task_id: str) -> None:
        with api.open(task_id) as stream:
            received.append((task_id, numbers(stream.rest()), stream.close_code))

    listeners = [threading.Thread(target=listen, args=(task_ids[n % 3],)) for n in range(24)]
    for number, listener in enumerate(listeners):
        listener.start()
        for task_id in task_ids:
            event_writer.append(task_id, *["step.progress"] * (number % 4 + 1), hint=number % 3 > 0)
    for task_id in task_ids:
        event_writer.append(task_id, "task.failed")
    for listener in listeners:
        listener.join(30)

    total = {task_id: begun[task_id] + 6 * (1 + 2 + 3 + 4) + 1 for task_id in task_ids}
    assert len(received) == 24
    for task_id, seqs, code in received:
        assert seqs == list(range(1, total[task_id] + 1))
        assert code == 1000


def test_a_client_that_does_not_read_is_closed_and_can_resume(
    api: Api, engineer: Engineer, event_writer: EventWriter
) -> None:
    task_id = engineer.start(wait_step("a"))
    seen = len(engineer.events(task_id))
    with api.open(task_id, f"?after={seen}", receive_buffer=4096) as slow:
        event_writer.append(task_id, "step.progress")
        assert slow.next()["seq"] == seen + 1
        for _ in range(4 * MAX_BEHIND // 16):
            event_writer.append(task_id, *["step.progress"] * 16, text="x" * 2000)
        wait_until(
            lambda: api.hub.buffered(task_id) == MAX_BEHIND,
            10,
            "the window of the newest events to be full",
        )

        # a client may be behind before more is sent to it
        first = [seen + 1, *numbers(slow.rest())]

    assert slow.close_code == 1013
    event_writer.append(task_id, "task.failed")
    with api.open(task_id, f"?after={first[-1]}") as again:
        rest = numbers(again.rest())
    assert [*first, *rest] == list(range(seen + 1, seen + 4 * MAX_BEHIND + 3))


def test_replies_to_client_pings_never_split_an_event(
    api: Api, engineer: Engineer, event_writer: EventWriter
) -> None:
    task_id = engineer.start(wait_step("a"))
    seen = len(engineer.events(task_id))
    with api.open(task_id, f"?after={seen}", receive_buffer=4096) as stream:
        event_writer.append(task_id, "step.progress", text="x" * 900_000)
        for _ in range(20):
            stream.ping()
        event_writer.append(task_id, "task.failed")

        assert numbers(stream.rest()) == [seen + 1, seen + 2]
        assert stream.close_code == 1000


def test_streams_end_at_once_when_the_process_stops(settings: Settings, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    with serving(settings) as api, api.open(task_id) as stream:
        api.hub.stop()

        stream.rest(timeout=3)
        with pytest.raises(Rejected) as refused:
            api.open(task_id)

    assert stream.close_code == 1001
    assert refused.value.status == 503


def test_a_process_limits_its_streams(settings: Settings, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    with serving(settings) as api:
        api.hub.max_streams = 2
        with api.open(task_id), api.open(task_id):
            with pytest.raises(Rejected) as refused:
                api.open(task_id)
            status, _, _ = api.get(f"/v1/tasks/{task_id}/events", {"Accept": "text/event-stream"})
            waited, _, _ = api.get(f"/v1/tasks/{task_id}?wait=30")

        wait_until(lambda: _opens(api, task_id), 5, "a slot to be free again")

    assert (refused.value.status, status, waited) == (503, 503, 200)
    assert int(refused.value.headers["retry-after"]) > 0
    assert json.loads(refused.value.body)["code"] == "service_unavailable"


def test_metrics_exclude_the_duration_of_streams(settings: Settings, engineer: Engineer) -> None:
    task_id = ended(engineer)
    with serving(settings) as api:
        with api.open(task_id) as stream:
            stream.rest()
        api.get(f"/v1/tasks/{task_id}/events", {"Accept": "text/event-stream"})
        api.get(f"/v1/tasks/{task_id}?wait=1")
        api.get(f"/v1/tasks/{task_id}/trace")

        _, _, metrics = api.get("/metrics")

    assert 'endpoint="tasks.explain"' in metrics
    for endpoint in ("websocket.stream", "stream.read", "tasks.show"):
        assert f'endpoint="{endpoint}"' not in metrics


def _opens(api: Api, task_id: str) -> bool:
    try:
        stream: WebSocket = api.open(task_id)
    except Rejected:
        return False
    stream.close()
    return True


def test_transient_events_reach_only_streams_that_want_them_and_are_not_numbered(
    api: Api, engineer: Engineer, event_writer: EventWriter, redis_url: str
) -> None:
    task_id, other = engineer.start(wait_step("a")), engineer.start(wait_step("a"))
    known, hints = len(engineer.events(task_id)), Hints(redis_url)
    shown = {"type": "step.progress", "data": {"step": "a", "answer": 1, "offset": 0, "text": "é"}}

    with api.open(task_id, "?progress=true") as watching, api.open(task_id) as plain:
        assert numbers([watching.next() for _ in range(known)]) == list(range(1, known + 1))

        def is_shown() -> bool:
            """Publish until the hub has subscribed; what was sent before is lost, as it may be."""
            hints.show(other, {**shown, "type": "plan.progress"})
            hints.show(task_id, shown)
            with contextlib.suppress(TimeoutError):
                return bool(watching.next(timeout=0.1) == shown)
            return False

        wait_until(is_shown, 20, "a transient event")
        event_writer.append(task_id, "task.completed")
        rest, of_plain = watching.rest(), plain.rest()

    assert [message for message in rest if message != shown] == of_plain[-1:]
    assert numbers(of_plain) == list(range(1, known + 2))
    assert len(engineer.events(task_id)) == known + 1

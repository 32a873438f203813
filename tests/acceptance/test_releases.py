"""An upgrade in the middle of work: tasks that release 0.1 left in tables and queues are continued and ended."""

import base64
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from orchestrator.chord.database import open_engine, statement
from orchestrator.devserver.servers import Servers
from orchestrator.devserver.stack import Stack
from orchestrator.memory import migrate
from tests.acceptance.audit import assert_completed_once
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.proc import row_of
from tests.releases.record import TABLES
from workers.sweeper import EPOCH_KEY

pytestmark = pytest.mark.slow

RECORDED = json.loads((Path(__file__).parents[1] / "releases" / "0.1.json").read_text())
OLD = ("plan", "step", "judge")


@pytest.fixture(scope="module")
def database_url(servers: Servers) -> str:
    """A database of release 0.1, with its tasks in the middle of their lives."""
    url = make_url(servers.database_url).set(database="recorded")
    with open_engine(servers.database_url, pool_size=1).connect() as conn:
        conn.exec_driver_sql("CREATE DATABASE recorded")
    text = url.render_as_string(hide_password=False)
    migrate.upgrade(text, revision=RECORDED["revision"])
    engine = open_engine(text, pool_size=1)
    for table in TABLES:
        _load(engine, table, RECORDED["rows"][table])
    _let_the_newer_release_write_on(engine)
    engine.dispose()
    return text


@pytest.fixture(scope="module")
def redis_url(servers: Servers) -> str:
    """A broker with the messages of release 0.1, and with one of a future release."""
    url = servers.redis_url.rpartition("/")[0] + "/5"
    with redis.Redis.from_url(url) as broker:
        # the broker counts as not lost, so that nothing is published again for that reason
        broker.set(EPOCH_KEY, "recorded")
        for queue, messages in RECORDED["messages"].items():
            for message in messages:
                is_newer = RECORDED["tasks"]["newer"] in message["headers"]["argsrepr"]
                broker.lpush(f"{queue}\x06\x166", json.dumps(_as_of_newer(message) if is_newer else message))
    return url


@pytest.fixture(scope="module")
def taken_over(database_url: str, redis_url: str) -> Iterator[Stack]:
    """This release's processes, started on the old release's data after the migration."""
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PERMIT_PRIVATE_KEY": RECORDED["permit_private_key"],
        "RATE_LIMIT": "1000000/minute",
        "LOG_LEVEL": "warning",
    }
    with (
        tempfile.TemporaryDirectory(prefix="octollm-releases-") as folder,
        Stack(Path(folder), port=0, environ=environ) as running,
    ):
        yield running


@pytest.fixture
def left(taken_over: Stack) -> Client:
    """The client who submitted the recorded tasks."""
    return client_of(taken_over, tenant="acme")


@pytest.mark.parametrize("stage", OLD)
def test_messages_and_rows_of_the_previous_release_are_processed(
    left: Client, taken_over: Stack, stage: str
) -> None:
    task_id = RECORDED["tasks"][stage]

    assert_completed_once(left, task_id, steps=["first", "second"])

    assert _sends(taken_over, task_id, stage) == 1, (
        "a message that the sweeper sent did it, not the recorded one"
    )


def test_unknown_members_of_a_future_release_are_ignored(left: Client, taken_over: Stack) -> None:
    """In a rolling upgrade older arms run a newer planner's round: they ignore members that they do not know."""
    task_id = RECORDED["tasks"]["newer"]

    assert_completed_once(left, task_id, steps=["first", "second"])

    assert _sends(taken_over, task_id, "step") == 1


def test_a_task_of_the_previous_release_can_be_read_traced_and_retried(left: Client) -> None:
    task_id = RECORDED["tasks"]["step"]
    left.end_of(task_id)

    answer = left.call("POST", f"/v1/tasks/{task_id}/retry")

    again = left.end_of(answer.body["task_id"])
    assert again["status"] == "completed"
    assert Counter(step["reused_from"] for step in again["steps"]) == Counter([task_id, task_id])
    assert {"plan", "route", "verdict", "end", "retried"} <= {entry["kind"] for entry in left.trace(task_id)}


def _load(engine: Engine, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert the recorded rows; rows with a message are due in an hour, so that the sweeper publishes no second one."""
    with statement(engine) as conn:
        conn.exec_driver_sql(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
            f" SELECT * FROM jsonb_populate_recordset(NULL::{table}, %(rows)s::jsonb)",
            {"rows": json.dumps(rows)},
        )
        if table == "steps":
            conn.exec_driver_sql("UPDATE steps SET due = now() + interval '1 hour' WHERE state = 'queued'")
        if table == "traces":
            conn.exec_driver_sql("SELECT setval(pg_get_serial_sequence('traces', 'id'), max(id)) FROM traces")


def _let_the_newer_release_write_on(engine: Engine) -> None:
    """Add unknown members wherever a future release might add some."""
    newer = {"id": RECORDED["tasks"]["newer"]}
    with statement(engine) as conn:
        for statement_text in (
            """UPDATE tasks SET contract = jsonb_set(contract || '{"newer": 1}', '{budget,newer}', '1')
               WHERE id = %(id)s""",
            """UPDATE rounds SET plan = jsonb_set(plan || '{"newer": 1}', '{steps,0,newer}', '[1]')
               WHERE task_id = %(id)s""",
            """UPDATE steps SET result = result || '{"newer": {"a": 1}}'
               WHERE task_id = %(id)s AND state = 'done' AND kind = 'step'""",
        ):
            changed = conn.exec_driver_sql(statement_text, newer).rowcount
            assert changed == 1, statement_text


def _as_of_newer(message: dict[str, Any]) -> dict[str, Any]:
    """Return a step's message with additions of a future release."""
    arguments, named, embedded = json.loads(base64.b64decode(message["body"]))
    body = [[*arguments, "newer"], {**named, "newer": {"a": 1}}, {**embedded, "newer": None}]
    return {
        **message,
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "headers": {**message["headers"], "newer": {"a": 1}},
        "properties": {**message["properties"], "newer": 1},
    }


def _sends(stack: Stack, task_id: str, stage: str) -> int:
    """Return the number of messages sent for the row of the recorded message."""
    engine = open_engine(stack.database_url, pool_size=1)
    name = {"plan": "$plan", "step": "second", "judge": "$judge"}[stage]
    sends: int = row_of(engine, task_id, name)["sends"]
    engine.dispose()
    return sends

"""Records what this release leaves in Postgres and in its queues when another one takes over in the middle of work.

    python -m tests.releases.record tests/releases/0.1.json

Four tasks, each with one message in a queue: one that nobody has planned, two with a step to be done, one to be judged.
Run it at a release, before the next migration is written: the next one's tests replay the file.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine

from orchestrator.bootstrap import for_api
from orchestrator.chord.database import open_engine, statement
from orchestrator.devserver import servers
from orchestrator.memory import migrate
from orchestrator.models import signing_key
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from tests.acceptance.plans import collect, ref, wait
from tests.waiting import wait_until

TABLES = ("tasks", "rounds", "steps", "ledger", "events", "traces", "results", "chords", "chord_parts")
QUEUES = ("planner", "arm.executor", "arm.retriever", "judge")
# each is a list a priority step: these tasks are of medium priority
_STEP = "\x06\x166"
_PLAN = {"steps": [wait("first", 0), collect("second", ref("first"), "first")]}


def main(path: Path) -> None:
    """Record into `path`."""
    with (
        tempfile.TemporaryDirectory(prefix="octollm-release-") as home,
        servers.start(Path(home), environ={}) as up,
    ):
        os.environ |= _environ(home, up.database_url, up.redis_url)
        migrate.upgrade(up.database_url)
        engine = open_engine(up.database_url)
        recorded = _record(engine, redis.Redis.from_url(up.redis_url))
        engine.dispose()
    path.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def _environ(home: str, database_url: str, redis_url: str) -> dict[str, str]:
    key = signing_key.new_private_key()
    return {
        "OCTOLLM_HOME": home,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET": "only what was recorded was signed with it",
        "PERMIT_PRIVATE_KEY": key,
        "PERMIT_PUBLIC_KEY": signing_key.public_key_of(key),
    }


def _record(engine: Engine, broker: "redis.Redis") -> dict[str, Any]:
    api = for_api()
    submit = _submitter(api, engine)
    ids = {stage: submit() for stage in ("judge", "step", "newer")}
    with _worker("planner"), _worker("arm.executor"):
        wait_until(lambda: broker.llen(f"arm.retriever{_STEP}") == 3, 60, "three steps to wait")
    for message in _messages(broker, "arm.retriever"):
        if ids["judge"] not in message:
            broker.lrem(f"arm.retriever{_STEP}", 0, message)
            broker.lpush("aside", message)
    with _worker("arm.retriever"):
        wait_until(lambda: broker.llen(f"judge{_STEP}") == 1, 60, "the judge's message")
    for message in broker.lrange("aside", 0, -1):
        broker.lpush(f"arm.retriever{_STEP}", message)
    ids["plan"] = submit()
    return {
        "permit_private_key": os.environ["PERMIT_PRIVATE_KEY"],
        "revision": _revision(engine),
        "tasks": ids,
        "rows": {table: _rows(engine, table) for table in TABLES},
        "messages": {queue: [json.loads(text) for text in _messages(broker, queue)] for queue in QUEUES},
    }


def _submitter(api: Any, engine: Engine) -> Any:
    def submit() -> str:
        contract = Contract(goal="a task of an earlier release", plan=_PLAN)
        task_id: str = api.submit(Caller("acme"), contract).task_id
        # replayed in a hundred years at the latest; before the permits are signed, which end with the task
        with statement(engine) as conn:
            conn.exec_driver_sql(
                "UPDATE tasks SET deadline_at = '2126-01-01' WHERE id = %(id)s", {"id": task_id}
            )
        return task_id

    return submit


@contextmanager
def _worker(queue: str) -> Iterator[None]:
    command = [
        "celery",
        "-A",
        "workers",
        "worker",
        "-Q",
        queue,
        "-P",
        "threads",
        "-c",
        "2",
        "-n",
        f"{queue}@%h",
    ]
    worker = subprocess.Popen([Path(sys.executable).with_name("celery"), *command[1:]])
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(60)


def _messages(broker: "redis.Redis", queue: str) -> list[str]:
    return [text.decode() for text in broker.lrange(f"{queue}{_STEP}", 0, -1)]


def _revision(engine: Engine) -> str:
    with statement(engine) as conn:
        return str(conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def _rows(engine: Engine, table: str) -> list[dict[str, Any]]:
    with statement(engine) as conn:
        return list(conn.exec_driver_sql(f"SELECT to_jsonb(t) FROM {table} t").scalars())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

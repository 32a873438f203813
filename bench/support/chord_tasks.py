"""The Celery application that bench/chords.py runs on each backend, and two plans as dataflow on ours."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from celery import Celery, Signature, Task, chain, chord, group
from sqlalchemy import Connection

from orchestrator.chord import chord as chords
from orchestrator.chord import outbox

SHORT: Final = 0.02
LONG: Final = 0.2

Plan = Mapping[str, tuple[Sequence[str], float]]
"""Steps by name: their dependencies and their duration in seconds."""

DIAMOND: Final[Plan] = {"a": ((), 0.0), "b": (("a",), 0.0), "c": (("a",), 0.0), "d": (("b", "c"), 0.0)}

RAGGED: Final[Plan] = {
    f"{line}{level}": ((f"{line}{level - 1}",) if level else (), LONG if level == straggler else SHORT)
    for straggler, line in enumerate("xyz")
    for level in range(3)
}
"""Three chains of three steps with one slow step per level: 240 ms as dataflow, 600 ms level by level."""

PLANS: Final = {"diamond": DIAMOND, "ragged": RAGGED}

TABLE: Final = """
CREATE TABLE IF NOT EXISTS bench_steps (
    run text, name text, waiting integer NOT NULL, PRIMARY KEY (run, name)
)
"""
_UNBLOCK: Final = """
UPDATE bench_steps SET waiting = waiting - 1
WHERE run = %(run)s AND name = ANY(%(names)s)
RETURNING name, waiting
"""


def make_app(broker: str, backend: str, queue: str) -> Celery:
    """Return the application on one backend."""
    app = Celery("bench", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
    )

    @app.task(name="work", shared=False)
    def work(*_: Any, seconds: float = 0.0) -> int:
        time.sleep(seconds)
        return 1

    @app.task(name="finish", shared=False)
    def finish(*_: Any, run: str) -> None:
        with redis.Redis.from_url(broker) as client:
            client.lpush(f"finished:{queue}", f"{run} {time.time()}")

    app.register_task(Step())
    return app


class Step(Task[Any, Any]):
    """A step of a plan on our backend: its hook adds the steps that it unblocked to the same chord."""

    name = "step"

    def run(self, plan: str, run: str, name: str) -> int:
        """Sleep for the duration in the plan."""
        time.sleep(PLANS[plan][name][1])
        return 1

    def on_stored(self, conn: Connection, request: Any, state: str, result: Any) -> list["Signature[Any]"]:
        """Return the steps whose last open dependency was this one."""
        plan, run, done = request.args
        names = [name for name, (needs, _) in PLANS[plan].items() if done in needs]
        rows = conn.exec_driver_sql(_UNBLOCK, {"run": run, "names": names})
        return [step(self.app, plan, run, name=row.name) for row in rows if not row.waiting]


def step(app: Celery, plan: str, run: str, *, name: str) -> "Signature[Any]":
    """Return the message of one step."""
    return app.signature("step", args=(plan, run, name), task_id=f"{run}-{name}", immutable=True)


def start_dataflow(app: Celery, plan: str, run: str) -> None:
    """Open a plan as one chord and publish its roots."""
    backend: Any = app.backend
    body = app.signature("finish", kwargs={"run": run}, immutable=True, task_id=f"{run}-finish")
    steps = PLANS[plan]
    roots = [name for name, (needs, _) in steps.items() if not needs]
    with backend.transaction() as conn:
        conn.exec_driver_sql(
            "INSERT INTO bench_steps VALUES (%(run)s, %(name)s, %(waiting)s)",
            [{"run": run, "name": name, "waiting": len(needs)} for name, (needs, _) in steps.items()],
        )
        chords.open(conn, run, body=backend.to_bytes(body), size=len(roots))
    outbox.publish_all(app, [step(app, plan, run, name=name).set(group_id=run) for name in roots])  # type: ignore[call-arg]  # an option that celery-types omits


def start_canvas(app: Celery, plan: str, run: str) -> None:
    """Publish a plan as Celery's canvas: fan8 as one chord, the others as groups level by level."""
    body = app.signature("finish", kwargs={"run": run}, immutable=True)
    if plan == "fan8":
        chord([app.signature("work", immutable=True) for _ in range(8)], app=app)(body)
        return
    levels = [
        group([app.signature("work", kwargs={"seconds": s}, immutable=True) for s in level], app=app)
        for level in _levels(PLANS[plan])
    ]
    chain(*levels, body, app=app).apply_async()


def _levels(plan: Plan) -> list[list[float]]:
    """Return the durations of the steps, level by level."""
    depth: dict[str, int] = {}
    for name, (needs, _) in plan.items():
        depth[name] = max((depth[need] + 1 for need in needs), default=0)
    return [
        [plan[name][1] for name in plan if depth[name] == level] for level in range(max(depth.values()) + 1)
    ]


if "BENCH_BROKER" in os.environ:
    app = make_app(os.environ["BENCH_BROKER"], os.environ["BENCH_BACKEND"], os.environ["BENCH_QUEUE"])

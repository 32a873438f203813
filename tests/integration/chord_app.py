"""A small Celery application of its own, for worker processes on Celery's Redis backend or on ours."""

import os
import signal
from typing import Any

import redis
from celery import Celery, Task, chord
from celery.signals import worker_ready

app = Celery("chord_app")
app.conf.update(
    broker_url=os.environ["CHORD_BROKER"],
    result_backend=os.environ["CHORD_BACKEND"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_default_queue=os.environ["CHORD_QUEUE"],
    octollm_fire_ready=os.environ.get("CHORD_FIRE_READY", "1") == "1",
)


def notes() -> "redis.Redis":
    """Return a client of the broker's database, where the tasks note what they did."""
    return redis.Redis.from_url(os.environ["CHORD_BROKER"], decode_responses=True)


@worker_ready.connect
def _say_so(**_: Any) -> None:
    notes().set(f"ready:{app.conf.task_default_queue}", 1)


def note(list_name: str, value: Any = 1) -> None:
    """Append to a list that a test reads."""
    with notes() as client:
        client.rpush(list_name, str(value))


def first_time(what: str) -> bool:
    """Tell whether `what` happens for the first time, in whatever process."""
    with notes() as client:
        return bool(client.set(f"once:{what}", 1, nx=True))


def die_after_storing(backend: Any) -> None:
    """Kill this process by SIGKILL at the moment when its next outcome has been stored."""
    if hasattr(backend, "database"):
        owner, name = backend.database, "run"
    else:
        owner, name = backend, "store_result"
    store = getattr(owner, name)

    def store_and_die(*args: Any, **kwargs: Any) -> None:
        store(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, store_and_die)


@app.task
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.task
def collect(values: Any) -> Any:
    """Return what came."""
    return values


@app.task(ignore_result=True)
def unstored(value: int) -> int:
    """Return a value that is not stored, and still belongs to the chord."""
    return value


@app.task
def fail(reason: str) -> None:
    """Fail."""
    raise ValueError(reason)


@app.task
def note_errback(request: Any, exc: Exception, traceback: str, name: str = "errbacks") -> None:
    """Note an error, called in the process that found it."""
    note(name, repr(exc))


@app.task
def note_body(values: Any, name: str) -> int:
    """Note that a chord's body ran."""
    note(name, values)
    return len(values)


@app.task(bind=True)
def become_group(self: "Task[Any, Any]", count: int) -> Any:
    """Replace this task by a chord of `count` additions."""
    raise self.replace(chord([add.s(1, number) for number in range(count)], collect.s()))


@app.task(bind=True)
def invite(self: "Task[Any, Any]", member_id: str, *, name: str, crash: bool = False) -> str:
    """Add a member with a fixed task id to the chord; crash once after that if told so."""
    self.add_to_chord(note_member.s(name).set(task_id=member_id))
    if crash and first_time(member_id):
        os.kill(os.getpid(), signal.SIGKILL)
    return "inviter"


@app.task
def note_member(name: str) -> str:
    """Note that a member ran."""
    note(name)
    return "member"


@app.task(bind=True)
def store_and_die_once(self: "Task[Any, Any]", what: str) -> str:
    """Return; the first process that stores this is killed at that very moment."""
    if first_time(what):
        die_after_storing(self.backend)
    return what


@app.task
def wait_for(what: str) -> str:
    """Return when `what` has been noted."""
    with notes() as client:
        client.blpop([what], timeout=20)
    return what

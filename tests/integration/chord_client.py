"""A client of chord_app: makes signatures by name, and reads what the tasks noted."""

from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery, Signature


@dataclass(frozen=True)
class ChordClient:
    """One application on one backend, and the broker's database."""

    app: Celery
    notes: "redis.Redis"
    environ: dict[str, str]

    def s(self, name: str, /, *args: Any, **kwargs: Any) -> "Signature[Any]":
        """Return a signature of a task of chord_app."""
        return self.app.signature(f"tests.integration.chord_app.{name}", args=args, kwargs=kwargs)

    def noted(self, name: str) -> list[str]:
        """Return what the tasks noted under that name."""
        found: Any = self.notes.lrange(name, 0, -1)
        return list(found)


def connect(broker_url: str, result_backend: str, queue: str) -> ChordClient:
    """Make a client; nothing is opened before it is used."""
    app = Celery("chord_client", set_as_current=False)
    app.conf.update(broker_url=broker_url, result_backend=result_backend, task_default_queue=queue)
    environ = {"CHORD_BROKER": broker_url, "CHORD_BACKEND": result_backend, "CHORD_QUEUE": queue}
    return ChordClient(app, redis.Redis.from_url(broker_url, decode_responses=True), environ)

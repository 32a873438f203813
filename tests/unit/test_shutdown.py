"""A worker's shutdown uses private names of Celery and billiard; where they are missing, it is Celery's own."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import structlog.testing
from billiard.pool import ApplyResult
from celery import Celery
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.concurrency.thread import TaskPool as ThreadPool

from workers.runtime import shutdown

APP = Celery(set_as_current=False)


def process_pool() -> ProcessPool:
    """Return a pool of child processes as far as the shutdown needs it."""
    pool = ProcessPool(1, app=APP)
    pool._pool = SimpleNamespace(_cache={})  # type: ignore[attr-defined]  # the stubs lack it
    return pool


def get_ready(pool: BasePool) -> list[str]:
    """Let a worker with that pool get ready; return the names of what it logs."""
    with structlog.testing.capture_logs() as logged:
        shutdown.wait_for_unread(SimpleNamespace(pool=pool))
    return [entry["event"] for entry in logged]


def test_a_pool_of_processes_flushes_by_our_function() -> None:
    pool = process_pool()

    assert get_ready(pool) == []
    assert pool.flush.__module__ == shutdown.__name__


def test_a_pool_of_threads_is_left_as_it_is() -> None:
    pool = ThreadPool(1, app=APP)

    assert get_ready(pool) == []
    assert pool.flush.__module__ == BasePool.__module__


def without_results_that_say_where_they_were_written(_: ProcessPool, patch: pytest.MonkeyPatch) -> None:
    patch.delattr(ApplyResult, "_write_to")


def without_a_cache(pool: ProcessPool, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pool, "_pool", SimpleNamespace())


def without_a_pool(pool: ProcessPool, patch: pytest.MonkeyPatch) -> None:
    patch.delattr(pool, "_pool")


def without_a_flush(pool: ProcessPool, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pool, "flush", None)


@pytest.mark.parametrize(
    "rename",
    [
        without_results_that_say_where_they_were_written,
        without_a_cache,
        without_a_pool,
        without_a_flush,
    ],
)
def test_a_release_without_a_name_is_left_as_it_is_and_reported_once(
    monkeypatch: pytest.MonkeyPatch, rename: Callable[[ProcessPool, pytest.MonkeyPatch], None]
) -> None:
    pool = process_pool()
    rename(pool, monkeypatch)
    flush = pool.flush

    assert get_ready(pool) == ["shutdown.unread_forgotten"]
    assert pool.flush == flush

"""A Redis that may evict queues: no process starts on it, and each names the reason."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from api.app import create_app
from orchestrator.cache.redis_policy import refuse_eviction
from orchestrator.models.errors import SettingsError
from orchestrator.settings import Settings

WORKER = ["-m", "celery", "-A", "workers", "worker", "-Q", "arm.retriever", "-P", "threads", "-c", "1"]


@pytest.fixture
def evicting(redis_url: str) -> Iterator[str]:
    """The URL of a server that may delete any key."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield redis_url
        client.config_set("maxmemory-policy", before)


def test_a_server_that_evicts_only_expiring_keys_is_accepted(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for policy in ("volatile-lru", "noeviction"):
            client.config_set("maxmemory-policy", policy)
            refuse_eviction(redis_url)


def test_a_server_that_is_away_is_not_refused() -> None:
    refuse_eviction("redis://127.0.0.1:1/0")


@pytest.mark.usefixtures("evicting")
def test_the_api_does_not_start(our_settings: Settings) -> None:
    with pytest.raises(
        SettingsError, match=r"allkeys-lru, which deletes queues .*CONFIG SET maxmemory-policy"
    ):
        create_app(our_settings)


@pytest.mark.slow
@pytest.mark.parametrize("program", [WORKER, ["-m", "workers.sweeper"]], ids=["worker", "sweeper"])
@pytest.mark.usefixtures("evicting", "postgres_url")
def test_no_worker_starts(program: list[str]) -> None:
    started = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, timeout=60, env=os.environ, check=False
    )

    assert started.returncode != 0
    assert "allkeys-lru" in started.stdout + started.stderr

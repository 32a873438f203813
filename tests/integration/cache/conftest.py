"""Fixtures of the cache tests: clients and workers, a model provider, a Redis client."""

from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.integration.cache.kit import Company


@pytest.fixture
def company(engine: Engine, our_settings: Settings) -> Company:
    """Clients and workers without a model."""
    return Company(engine, our_settings)


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A fake model provider."""
    with FakeLLM() as running:
        yield running


@pytest.fixture
def office(engine: Engine, our_settings: Settings, fake: FakeLLM) -> Company:
    """Clients and workers with a model."""
    return Company(engine, our_settings, fake)


@pytest.fixture
def client(our_settings: Settings) -> Iterator["redis.Redis"]:
    """A plain client of the cache's Redis."""
    with redis.Redis.from_url(our_settings.redis_url) as running:
        yield running

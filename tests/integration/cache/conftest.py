"""Fixtures of the cache's tests: clients with workers by hand, a model for them, a hand in Redis."""

from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.integration.cache.kit import Company


@pytest.fixture
def company(engine: Engine, our_settings: Settings) -> Company:
    """Clients, and workers without a model."""
    return Company(engine, our_settings)


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """The provider of a model."""
    with FakeLLM() as running:
        yield running


@pytest.fixture
def office(engine: Engine, our_settings: Settings, fake: FakeLLM) -> Company:
    """Clients, and workers with a model."""
    return Company(engine, our_settings, fake)


@pytest.fixture
def client(our_settings: Settings) -> Iterator["redis.Redis"]:
    """Someone who reads and writes the cache's Redis by hand."""
    with redis.Redis.from_url(our_settings.redis_url) as running:
        yield running

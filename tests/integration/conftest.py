"""Fixtures of the integration tests: someone who plays the workers by hand."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.settings import Settings
from tests.integration.kit import Engineer


@pytest.fixture
def our_settings(postgres_url: str, redis_url: str) -> Settings:
    """The settings of a process that works on the session's servers."""
    return settings.load()


@pytest.fixture
def engineer(engine: Engine, our_settings: Settings) -> Engineer:
    """One who plans, works and judges by hand."""
    return Engineer(engine, replace(our_settings, max_parallel_arms=50))

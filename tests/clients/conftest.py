"""Fixtures of the clients' tests: a running stack, and clients of it."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from octollm_client import AsyncClient, Client
from orchestrator import settings
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver.stack import Stack
from orchestrator.memory import keys

TENANT = "acme"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running stack with its own servers."""
    environ = {"DATABASE_URL": "", "REDIS_URL": "", "LOG_LEVEL": "warning", "RATE_LIMIT": "1000000/minute"}
    with (
        tempfile.TemporaryDirectory(prefix="octollm-clients-") as folder,
        Stack(Path(folder), port=0, environ=environ, durable=False) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def token(stack: Stack) -> str:
    """A token with every scope."""
    return sign_token(settings.load(stack.environ), tenant=TENANT, key_id="tests", scopes=SCOPES)


@pytest.fixture
def client(stack: Stack, token: str) -> Iterator[Client]:
    """A client with every scope."""
    with Client(stack.url, token=token) as made:
        yield made


@pytest.fixture
def async_client(stack: Stack, token: str) -> Callable[[], AsyncClient]:
    """A maker of async clients, which belong to one loop."""
    return lambda: AsyncClient(stack.url, token=token)


@pytest.fixture
def api_key(stack: Stack) -> Iterator[str]:
    """An API key of the tenant with every scope."""
    engine = open_engine(stack.database_url, pool_size=1)
    with transaction(engine) as conn:
        _, text = keys.create(conn, tenant=TENANT, scopes=SCOPES)
    yield text
    engine.dispose()

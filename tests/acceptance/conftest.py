"""Fixtures of the acceptance tests: the whole product as real processes, as `octollm up` runs it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator import credential, settings
from orchestrator.credential import SCOPES
from orchestrator.devstack.process import free_port
from orchestrator.devstack.stack import ONE_OF_EACH, Stack
from orchestrator.store.engine import open_engine
from tests.acceptance.client import Client
from tests.tls import make_certificate

GRACE_SECONDS = 3


@pytest.fixture(scope="session")
def webhook_port() -> int:
    """The port of this machine to which webhooks may go."""
    return free_port()


@pytest.fixture(scope="session")
def certificate() -> Iterator[Path]:
    """A certificate of localhost that the stack's processes trust."""
    with tempfile.TemporaryDirectory(prefix="octollm-certificate-") as folder:
        yield make_certificate(Path(folder))


@pytest.fixture(scope="session")
def stack(webhook_port: int, certificate: Path) -> Iterator[Stack]:
    """A running stack with its own servers: one process of each kind, two for the executor's four slots."""
    with (
        tempfile.TemporaryDirectory(prefix="octollm-acceptance-") as folder,
        Stack(
            Path(folder),
            port=0,
            environ={
                "DATABASE_URL": "",
                "REDIS_URL": "",
                "LOG_LEVEL": "warning",
                "RATE_LIMIT": "1000000/minute",
                "LEASE_SECONDS": "8",
                "HEARTBEAT_SECONDS": "1",
                "WEBHOOK_LOCAL_TARGETS": f"localhost:{webhook_port}",
                "SSL_CERT_FILE": str(certificate),
                "GRACE_SECONDS": str(GRACE_SECONDS),
            },
            durable=False,
            processes={**ONE_OF_EACH, "executor": 2},
        ) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    """A client of the stack with every scope."""
    return client_of(stack, tenant="acme")


@pytest.fixture
def database(stack: Stack) -> Iterator[Engine]:
    """The stack's database, for what only an operator sees."""
    engine = open_engine(stack.database_url, pool_size=2)
    yield engine
    engine.dispose()


def client_of(stack: Stack, *, tenant: str) -> Client:
    """Return a client of the stack for a tenant."""
    chosen = settings.load(stack.environ)
    token = credential.sign_token(chosen, tenant=tenant, key_id="tests", scopes=SCOPES)
    return Client(stack.url, token)

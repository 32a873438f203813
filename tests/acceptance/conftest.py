"""Fixtures of the acceptance tests: the whole product as real processes, as `octollm up` runs it."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.chord.database import open_engine
from orchestrator.devserver.child_process import is_free
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.fake_llm.server import FakeLLM
from tests.ledger import ARMS_PATH, Ledger, registered
from tests.tls import make_certificate
from tests.waiting import wait_until

GRACE_SECONDS = 3

Arm = Callable[[Point], Callable[[], int]]


@pytest.fixture(scope="session")
def webhook_port() -> int:
    """The local port to which webhooks may be sent.

    Nobody listens there between the tests: it lies below the ports that `free_port` gives to other workers' servers.
    """
    return _low_port()


@pytest.fixture(scope="session")
def arm_port(webhook_port: int) -> int:
    """The local port at which an HTTP arm may run, chosen like `webhook_port`."""
    return _low_port(above=webhook_port)


def _low_port(*, above: int = 0) -> int:
    first = above + 1 if above else 10_000 + os.getpid() % 4000
    return next(port for port in range(first, 15_000) if is_free(port))


@pytest.fixture(scope="session")
def certificate() -> Iterator[Path]:
    """A certificate of localhost that the stack's processes trust."""
    with tempfile.TemporaryDirectory(prefix="octollm-certificate-") as folder:
        yield make_certificate(Path(folder))


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLLM]:
    """A scripted model server, for one file of tests."""
    with FakeLLM() as running:
        yield running


@pytest.fixture(scope="session")
def crash_points() -> Iterator[Path]:
    """The directory in which a test arms a crash point of the stack's processes (orchestrator.process.crash_point)."""
    with tempfile.TemporaryDirectory(prefix="octollm-crash-points-") as folder:
        yield Path(folder)


@pytest.fixture
def arm(crash_points: Path) -> Arm:
    """Arm a crash point; the returned function waits for the hit and returns the pid of the killed process."""

    def armed(point: Point) -> Callable[[], int]:
        hit = crash_points / f"{point}.hit"
        hit.unlink(missing_ok=True)
        (crash_points / point).touch()

        def died() -> int:
            return int(wait_until(lambda: hit.exists() and hit.read_text(), 30, f"{point} to be hit"))

        return died

    return armed


@pytest.fixture(scope="session")
def ledger() -> Iterator[Ledger]:
    """The file outside of the stack to which the actions of the ledger arm append lines."""
    with tempfile.TemporaryDirectory(prefix="octollm-ledger-") as folder:
        yield Ledger(Path(folder) / "ledger")


@pytest.fixture(scope="session")
def stack(
    webhook_port: int, arm_port: int, *, certificate: Path, crash_points: Path, ledger: Ledger
) -> Iterator[Stack]:
    """A running stack with its own servers: one process of each kind, two for the executor's four slots."""
    with tempfile.TemporaryDirectory(prefix="octollm-acceptance-") as folder, ExitStack() as ending:
        running = Stack(
            Path(folder),
            port=0,
            environ={
                "DATABASE_URL": "",
                "REDIS_URL": "",
                "RECIPES_PATH": str(Path(__file__).parents[2] / "examples" / "recipes"),
                "LOG_LEVEL": "warning",
                "RATE_LIMIT": "1000000/minute",
                "LEASE_SECONDS": "8",
                "HEARTBEAT_SECONDS": "1",
                "WEBHOOK_LOCAL_TARGETS": f"localhost:{webhook_port}",
                "ARM_LOCAL_TARGETS": f"127.0.0.1:{arm_port}",
                "ARM_TTL_SECONDS": "3",
                "SSL_CERT_FILE": str(certificate),
                crash_point.VARIABLE: str(crash_points),
                "GRACE_SECONDS": str(GRACE_SECONDS),
                "ARMS_PATH": str(ARMS_PATH),
                "OCTOLLM_LEDGER": str(ledger.path),
            },
            durable=False,
            processes={**ONE_OF_EACH, "executor": 2, "ledger": 1},
        )
        with registered("ledger"):
            ending.enter_context(running)
        # while another tenant has work, one tenant may use three of the executor's four slots
        client_of(running, tenant="neighbour").run(plan={"steps": [wait("hello")]})
        yield running
        # each kind of process has its own login with the rights that its work needs
        denied = [line for line in _postgres_log(running).splitlines() if "permission denied" in line]
        assert not denied, denied[:5]


def _postgres_log(stack: Stack) -> str:
    return (stack.home / "log" / "postgres.log").read_text(errors="replace")


@pytest.fixture
def whole_again(stack: Stack) -> Iterator[None]:
    """Wait after the test until the stack has restarted the processes that it killed."""
    yield
    expected = {
        "planner": 1,
        "executor": 2,
        "retriever": 1,
        "judge": 1,
        "ledger": 1,
        "sweeper": 1,
        "web": 1,
    }
    for kind, count in expected.items():
        wait_until(partial(_has_processes, stack, kind, count), 40, f"{kind} to be back")


def _has_processes(stack: Stack, kind: str, count: int) -> bool:
    return len(stack.pids(kind)) == count


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    """A client of the stack with every scope."""
    return client_of(stack, tenant="acme")


@pytest.fixture
def database(stack: Stack) -> Iterator[Engine]:
    """The stack's database, for data that the API does not show."""
    engine = open_engine(stack.database_url, pool_size=2)
    yield engine
    engine.dispose()


def client_of(stack: Stack, *, tenant: str) -> Client:
    """Return a client of the stack for a tenant."""
    chosen = settings.load(stack.environ)
    token = credential.sign_token(chosen, tenant=tenant, key_id="tests", scopes=SCOPES)
    return Client(stack.url, token)

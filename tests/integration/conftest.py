"""Fixtures of the integration tests: someone who plays the workers by hand."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import open_engine, statement
from orchestrator.devserver import binaries
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.valkey import Valkey
from orchestrator.memory import roles
from orchestrator.memory.hints import Hints
from orchestrator.models import signing_key
from orchestrator.models.arm_capability import ARMS
from orchestrator.process.process_kind import KINDS
from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.integration.early_kit import Office
from tests.integration.kit import Engineer
from tests.integration.replan_kit import Replanner
from tests.integration.stored_kit import messages
from tests.ledger import Ledger, known_with
from tests.waiting import wait_until
from workers.runtime import process
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import SandboxStatus, select_sandbox
from workers.sweeper import Sweeper
from workers.tasks import app

Login = Callable[[str], Engine]


@pytest.fixture
def our_settings(postgres_url: str, redis_url: str) -> Settings:
    """The settings of a process that works on the session's servers."""
    return settings.load()


@pytest.fixture
def engineer(engine: Engine, our_settings: Settings) -> Engineer:
    """One who plans, works and judges by hand."""
    return Engineer(engine, replace(our_settings, max_parallel_arms=50))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be frozen or spoilt."""
    program, _ = binaries.valkey()
    reaper = ChildReaper()
    server = Valkey(tmp_path, program, reaper=reaper, durable=False)
    server.start()
    yield server
    server.stop()
    reaper.close()


@pytest.fixture
def empty_audit_log(engine: Engine) -> None:
    """Forget what servers of other modules' tests wrote when they stopped, which is after their last test."""
    with engine.connect() as conn:
        conn.exec_driver_sql(
            "DO $$ BEGIN SET LOCAL session_replication_role = replica; DELETE FROM audit_log; END $$"
        )


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger arm with an empty file."""
    path = tmp_path / "ledger"
    monkeypatch.setenv("OCTOLLM_LEDGER", str(path))
    # undone in its turn: a test may add other arms in the same way
    monkeypatch.setattr(ARMS, "_static", known_with("ledger"))
    return Ledger(path)


@pytest.fixture
def login(postgres_url: str, engine: Engine) -> Iterator[Login]:
    """Connect as a kind of process; the roles last as long as the test."""
    with statement(engine) as conn:
        addresses = roles.make_logins(conn, postgres_url)
    opened: list[Engine] = []

    def connect(kind: str) -> Engine:
        opened.append(open_engine(addresses[kind], pool_size=3))
        return opened[-1]

    yield connect
    for one in opened:
        one.dispose()
    with statement(engine) as conn:
        for kind in KINDS:
            conn.exec_driver_sql(f"DROP ROLE octollm_up_{kind}")


@pytest.fixture
def broker(redis_url: str) -> Iterator["redis.Redis"]:
    """A client of the broker."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def sweeper(engineer: Engineer, broker: "redis.Redis") -> Sweeper:
    """A sweeper that has been connected for longer than a lease."""
    process.start(app, service="tests")
    settings = replace(engineer.settings, lease_seconds=0.05, heartbeat_seconds=0.01, poison_step=3)
    sweeper = Sweeper(
        WorkerProcess(settings, engineer.engine, Hints(settings.redis_url), app, owner="sweeper"), broker
    )
    sweeper.queue_again_after_flush()
    time_to_trust = settings.lease_seconds
    wait_until(
        lambda: not sweeper._is_too_soon(1e9), 5 + time_to_trust, "the sweeper to trust its connection"
    )
    return sweeper


@pytest.fixture
def office(engineer: Engineer, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    key = signing_key.new_private_key()
    monkeypatch.setenv("PERMIT_PRIVATE_KEY", key)
    monkeypatch.setenv("PERMIT_PUBLIC_KEY", signing_key.public_key_of(key))
    worker = process.start(app, service="tests")
    with FakeLLM() as fake:
        yield Office(engineer, fake, worker.process)
    messages(app)


@pytest.fixture
def replanner(engineer: Engineer) -> Iterator[Replanner]:
    """A planner with a model."""
    with FakeLLM() as fake:
        yield Replanner(engineer, fake)


@pytest.fixture(scope="session")
def sandbox() -> SandboxStatus:
    """The strongest sandbox of this machine."""
    return select_sandbox(Isolation.BASIC)

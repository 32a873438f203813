"""Fixtures of all tests: a real Postgres and a real Valkey, migrated and empty; and how tests are ordered.

Under pytest-xdist each worker has its own servers, so that tests may stop, configure and flush them.
"""

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

# before any module of ours: these are read when modules are imported
os.environ["OCTOLLM_ENV_FILE"] = "none"
os.environ["PROMETHEUS_MULTIPROC_DIR"] = "none"
os.environ.pop("ARMS_PATH", None)

import pytest
import redis
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from xdist.remote import Producer

from orchestrator.chord.database import open_engine
from orchestrator.devserver import servers as private_servers
from orchestrator.devserver.servers import Servers
from orchestrator.memory import migrate
from orchestrator.models.arm_capability import ARMS
from orchestrator.process.loop import Loop
from tests import sharing

# until the tests are collected: searching for cycles takes half of the time of importing them
gc.disable()
# Otherwise hypothesis' examples depend on which of our modules a process has imported, and on every constant in them.
providers.is_local_module_file = lambda path: False  # type: ignore[assignment, attr-defined]  # a cached function
# the gate: the same examples each time, derived from the test's source
settings.register_profile("gate", derandomize=True, database=None, deadline=None)
# `make fuzz` and `make check-slow`: new examples by --hypothesis-seed
settings.register_profile("fuzz", database=None, deadline=None)

_LONGEST_ID = 40
_SECRET = "a secret of the tests, the same in each run and long enough for HS256"
_OURS = ("DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "JWT_SECRET")

# replica: disables foreign keys and the triggers that prevent the deletion of history
_EMPTY_ALL_TABLES = """
DO $$
DECLARE
    name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN
        SELECT quote_ident(tablename) FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
        ORDER BY tablename
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
END $$
"""


def pytest_configure(config: pytest.Config) -> None:
    """Use deterministic examples unless the command line names a profile."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("gate")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test after the argument instead of binary bytes: an archive made here contains the time of day.

    All workers of pytest-xdist must collect tests of the same names.
    """
    is_text = not isinstance(val, bytes) or (val.isascii() and len(val) <= _LONGEST_ID)
    return None if is_text else argname


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark hypothesis tests as `fuzz`."""
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        item.add_marker("fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first if several workers share the tests."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: sharing.turn_of(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Leave what the collection made out of every later search for cycles: it lasts as long as the process."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> sharing.ByShare:
    """Distribute the tests as tests/sharing.py says."""
    return sharing.ByShare(config, log)


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """A state directory for this session, without settings of the developer's environment."""
    path = Path(tempfile.mkdtemp(prefix="octollm-tests-"))
    with pytest.MonkeyPatch.context() as patch:
        for name in _OURS:
            patch.delenv(name, raising=False)
        patch.setenv("OCTOLLM_HOME", str(path))
        patch.setenv("XDG_STATE_HOME", str(path / "state"))
        patch.setenv("JWT_SECRET", _SECRET)
        yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(home: Path) -> Iterator[Servers]:
    """One Postgres (fsync off) and one Valkey for the session; their addresses are in the environment."""
    with (
        private_servers.start(home, durable=False, environ={}) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DATABASE_URL", running.database_url)
        patch.setenv("REDIS_URL", running.redis_url)
        yield running
        _stop_loops()


def _stop_loops() -> None:
    """Stop the loops that tests have started in this process: they would report that the servers are away."""
    for thread in threading.enumerate():
        loop = getattr(getattr(thread, "_target", None), "__self__", None)
        if isinstance(loop, Loop):
            loop.stop()


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    """The address of a migrated database."""
    migrate.upgrade(servers.database_url)
    return servers.database_url


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """The address of a Valkey."""
    return servers.redis_url


@pytest.fixture(scope="session")
def engine(postgres_url: str) -> Iterator[Engine]:
    """The session's pool of connections to the migrated database."""
    pool = open_engine(postgres_url)
    yield pool
    pool.dispose()


@pytest.fixture(autouse=True)
def _leave_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Delete all rows and keys after a test that used the servers."""
    wanted = set(request.fixturenames)
    tables = request.getfixturevalue("engine") if wanted & {"engine", "postgres_url"} else None
    keys = request.getfixturevalue("redis_url") if wanted & {"servers", "redis_url"} else None
    yield
    # an API or a worker that the test made would look for arms in a database that may be gone by the next test
    ARMS.attach(None)
    if tables is not None:
        _empty_tables(tables)
    if keys is not None:
        with redis.Redis.from_url(keys) as client:
            client.flushdb()


def _empty_tables(engine: Engine) -> None:
    """Use DELETE, since TRUNCATE creates files for each table; retry if a worker that still runs deadlocks with it."""
    for attempt in range(5):
        try:
            with engine.begin() as conn:
                conn.exec_driver_sql(_EMPTY_ALL_TABLES)
        except OperationalError:
            if attempt == 4:
                raise
        else:
            return

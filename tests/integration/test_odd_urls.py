"""URLs of all forms work everywhere, or the doctor names the fault without a traceback."""

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from orchestrator.chord.database import open_engine, statement
from orchestrator.cli import checks
from orchestrator.cli.checks import CheckStatus
from orchestrator.cli.doctor import check_settings
from orchestrator.connections import server_url
from orchestrator.connections.redis_client import open_client
from orchestrator.devserver import binaries
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.unit.test_server_url import ODD
from tests.waiting import wait_until

POSTGRES = [
    *(url.format(scheme="postgresql") for url in ODD if url.strip()),
    "postgresql://",
    "postgresql://127.0.0.1:1",
    "postgresql://127.0.0.1:1,127.0.0.1:2/octollm",
    "postgresql:///octollm?host=/nowhere",
    "postgresql://127.0.0.1:1/octollm?sslmode",
    "postgresql://127.0.0.1:1/octollm?sslmode=perhaps",
    "postgresql://127.0.0.1:1/octollm?unknown=1",
    "postgresql://127.0.0.1:1/octollm?connect_timeout=soon",
    "postgresql://127.0.0.1:1/octollm?host=a&host=b&port=x",
    "postgresql://u:50%@127.0.0.1:1/octollm",
    "postgresql://u:%ff@127.0.0.1:1/octollm",
    "postgresql+asyncpg://127.0.0.1:1/octollm",
]
REDIS = [
    *(url.format(scheme="redis") for url in ODD if url.strip()),
    "redis://127.0.0.1:1",
    "redis://:50%@127.0.0.1:1/0",
    "redis://u:%ff@127.0.0.1:1/0",
    "rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere",
    "rediss://127.0.0.1:1/0?ssl_certfile=/nowhere",
    "unix:///nowhere?db=0",
    "sentinel://127.0.0.1:26379/mymaster",
]


@pytest.mark.parametrize("url", POSTGRES)
def test_the_doctor_survives_every_address_of_postgres(url: str) -> None:
    wrong, known = check_settings(_environ(DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0"))

    found = [*wrong, *checks.postgres(known)] if known else wrong
    assert any(result.status is not CheckStatus.OK and result.message and result.advice for result in found)


@pytest.mark.parametrize("url", REDIS)
def test_the_doctor_survives_every_address_of_redis(url: str) -> None:
    wrong, known = check_settings(_environ(DATABASE_URL="postgresql://127.0.0.1:1/d", REDIS_URL=url))

    found = [*wrong, *checks.redis(known)] if known else wrong
    assert any(result.status is not CheckStatus.OK and result.message and result.advice for result in found)


def test_a_database_number_that_redis_lacks_is_reported(redis_url: str) -> None:
    url = redis_url.rpartition("/")[0] + "/4711"
    _, known = check_settings(_environ(DATABASE_URL="postgresql://127.0.0.1:1/d", REDIS_URL=url))

    assert known is not None
    assert [result.status for result in checks.redis(known)] == [CheckStatus.FAILURE]


def test_the_second_host_is_reached_when_the_first_is_away(our_settings: Settings) -> None:
    one = make_url(our_settings.database_url)
    url = server_url.driver_url(
        f"postgresql://{one.username}:{one.password}@127.0.0.1:1,{one.host}:{one.port}/{one.database}"
        "?target_session_attrs=read-write"
    )
    app = make_app(lambda: replace(our_settings, database_url=url))
    engine = open_engine(url, pool_size=1)

    with statement(engine) as conn:
        assert conn.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert app.AsyncResult("never").status == "PENDING"
    engine.dispose()


def test_redis_is_used_through_a_unix_socket(our_settings: Settings) -> None:
    program, _ = binaries.valkey()
    with tempfile.TemporaryDirectory(prefix="octollm-socket-") as folder:
        socket = Path(folder) / "redis.sock"
        server = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", socket, "--save", "", "--daemonize", "no"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until(socket.exists, 20, "the socket")
            url = server_url.redis_url(f"unix://{socket}?db=2")
            app = make_app(lambda: replace(our_settings, redis_url=url))
            app.send_task("tasks.plan", queue="planner")
            assert open_client(url).llen("planner") == 1
        finally:
            server.terminate()
            server.wait()


def _environ(**addresses: str) -> dict[str, str]:
    return {
        "JWT_SECRET": "a secret that is longer than 32 bytes",
        "OCTOLLM_HOME": "/nonexistent",
        **addresses,
    }

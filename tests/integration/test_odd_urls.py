"""Addresses as people mistype them: the doctor says what is wrong, each time, and never ends in a traceback."""

import pytest

from orchestrator.cli import examine
from orchestrator.cli.doctor import examine_settings
from orchestrator.cli.finding import State
from tests.unit.test_server_url import ODD

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
    wrong, known = examine_settings(_environ(DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0"))

    found = [*wrong, *examine.postgres(known)] if known else wrong
    assert any(finding.state is not State.GOOD and finding.told and finding.advice for finding in found)


@pytest.mark.parametrize("url", REDIS)
def test_the_doctor_survives_every_address_of_redis(url: str) -> None:
    wrong, known = examine_settings(_environ(DATABASE_URL="postgresql://127.0.0.1:1/d", REDIS_URL=url))

    found = [*wrong, *examine.redis(known)] if known else wrong
    assert any(finding.state is not State.GOOD and finding.told and finding.advice for finding in found)


def test_a_database_number_that_redis_lacks_is_trouble(redis_url: str) -> None:
    url = redis_url.rpartition("/")[0] + "/4711"
    _, known = examine_settings(_environ(DATABASE_URL="postgresql://127.0.0.1:1/d", REDIS_URL=url))

    assert known is not None
    assert [finding.state for finding in examine.redis(known)] == [State.TROUBLE]


def _environ(**addresses: str) -> dict[str, str]:
    return {
        "JWT_SECRET": "a secret that is longer than 32 bytes",
        "OCTOLLM_HOME": "/nonexistent",
        **addresses,
    }

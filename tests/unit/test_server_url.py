"""URLs of Postgres and Redis: every form works for all libraries, or is refused with a reason."""

import ssl
from typing import Any

import pytest
import redis
from kombu import Connection
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from orchestrator.connections.server_url import broker_settings, driver_url, redis_url

ODD = [
    "",
    "//",
    "://",
    "localhost",
    "localhost:5432",
    "host=db dbname=octollm",
    "mysql://db/octollm",
    "http://db/octollm",
    "{scheme}://h:port/0",
    "{scheme}://h:99999/0",
    "{scheme}://h:0/0",
    "{scheme}://h:-1/0",
    "{scheme}://h:1:2/0",
    "{scheme}://[::1/0",
    "{scheme}://::1/0",
    "{scheme}://h /0",
    "{scheme}://h\x00/0",
    "{scheme}://h\n/0",
    "{scheme}://h/0#fragment",
    "{scheme}://h%00/0",
    "{scheme}://h%20a/0",
    "{scheme}://" + "a" * 64 + "/0",
    "{scheme}://a..b/0",
]


def connect_arguments(url: str) -> dict[str, Any]:
    """Return the arguments that psycopg2.connect gets for a setting."""
    _, arguments = PGDialect_psycopg2().create_connect_args(make_url(driver_url(url)))  # type: ignore[no-untyped-call]
    return dict(arguments)


@pytest.mark.parametrize("url", [text.format(scheme="postgresql") for text in ODD])
def test_an_unusable_postgres_url_is_refused_with_a_reason(url: str) -> None:
    with pytest.raises(ValueError, match=r"postgresql://|usable: "):
        driver_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *(text.format(scheme="redis") for text in ODD),
        "redis://h/name",
        "redis://h/0/1",
        "redis://h?db=one",
        "redis://h1,h2/0",
        "redis://h?socket_timeout=soon",
        "redis://h?ssl_cert_reqs=required",
        "rediss://h?ssl_cert_reqs=maybe",
        "rediss://h?ssl_check_hostname=maybe",
        "unix://host/path",
        "unix://",
        "unix:///path?db=one",
    ],
)
def test_an_unusable_redis_url_is_refused_with_a_reason(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis://|usable: "):
        redis_url(url)


@pytest.mark.parametrize("scheme", ["sentinel", "redis+sentinel"])
def test_sentinel_is_refused_with_the_form_that_works(scheme: str) -> None:
    with pytest.raises(ValueError, match="Sentinel is not supported; give the master's address as redis://"):
        redis_url(f"{scheme}://s1:26379,s2:26379/mymaster")


@pytest.mark.parametrize("query", ["host=a&host=b&port=1", "host=a:1&port=2", "host=a&port=x", "port=1,x"])
def test_ports_that_belong_to_no_host_are_refused(query: str) -> None:
    with pytest.raises(ValueError, match=r"usable: write \?host=h1:port1"):
        driver_url(f"postgresql:///octollm?{query}")


def test_several_hosts_of_postgres_are_all_tried() -> None:
    url = "postgresql://octollm:p%40ss@db1:5433,db2/octollm?target_session_attrs=read-write"

    assert connect_arguments(url) == {
        "host": "db1,db2",
        "port": "5433,",
        "user": "octollm",
        "password": "p@ss",
        "dbname": "octollm",
        "target_session_attrs": "read-write",
    }


@pytest.mark.parametrize(
    "url", ["postgresql:///octollm?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql/octollm"]
)
def test_postgres_is_reached_over_a_unix_socket(url: str) -> None:
    assert connect_arguments(url) == {"host": "/run/postgresql", "dbname": "octollm"}


def test_an_ipv6_address_is_not_changed() -> None:
    assert connect_arguments("postgres://me@[::1]:5433/octollm")["host"] == "::1"
    assert redis_url("redis://[::1]:6380/2") == "redis://[::1]:6380/2"


@pytest.mark.parametrize(
    "url", ["unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"]
)
def test_redis_is_reached_over_a_unix_socket(url: str) -> None:
    known = redis_url(url)

    pool = redis.ConnectionPool.from_url(known)
    assert (pool.connection_kwargs["path"], pool.connection_kwargs["db"]) == ("/run/redis.sock", 3)
    assert broker_settings(known) == {"broker_url": "redis+socket:///run/redis.sock?virtual_host=3"}


def test_tls_verifies_the_server_unless_the_url_turns_it_off() -> None:
    assert redis_url("rediss://h:1/0") == "rediss://h:1/0?ssl_cert_reqs=required"
    assert redis_url("rediss://h/0?ssl_cert_reqs=CERT_NONE") == "rediss://h/0?ssl_cert_reqs=none"


def test_the_broker_verifies_as_redis_does() -> None:
    asked = broker_settings(redis_url("rediss://h:1/2?ssl_ca_certs=/etc/ca.pem"))
    free = broker_settings(redis_url("rediss://h:1/2?ssl_cert_reqs=none"))

    assert asked["broker_url"] == free["broker_url"] == "rediss://h:1/2"
    assert asked["broker_use_ssl"] == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_ca_certs": "/etc/ca.pem",
        "ssl_check_hostname": True,
    }
    assert free["broker_use_ssl"]["ssl_cert_reqs"] == ssl.CERT_NONE


def test_a_password_with_special_characters_reaches_the_broker_unchanged() -> None:
    asked = broker_settings(redis_url("redis://me:a;b%40%2F@h/1"))

    broker = Connection(asked["broker_url"])
    assert (broker.userid, broker.password, broker.hostname) == ("me", "a;b@/", "h")
    assert not broker.alt

"""Redis behind TLS: every library verifies its certificate, unless the URL turns that off."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from celery import Celery
from flower.utils.broker import Broker
from kombu.exceptions import OperationalError

from orchestrator.connections import server_url
from orchestrator.connections.redis_client import open_client
from orchestrator.devserver.valkey import Valkey
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests import tls


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate."""
    return tls.make_certificate(tmp_path)


@pytest.fixture
def tls_url(own_redis: Valkey, certificate: Path) -> Iterator[str]:
    """The rediss:// URL of a TLS proxy with this certificate in front of a Valkey."""
    plain = redis.ConnectionPool.from_url(own_redis.url).connection_kwargs
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("", 0))

    def serve(arrived: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(arrived, server_side=True) as link,
            socket.create_connection((plain["host"], plain["port"])) as server,
        ):
            back = threading.Thread(target=_pass_on, args=(server, link), daemon=True)
            back.start()
            _pass_on(link, server)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                arrived, _ = listener.accept()
                threading.Thread(target=serve, args=(arrived,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"rediss://:{plain['password']}@localhost:{listener.getsockname()[1]}/0"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def app_on(settings: Settings, url: str) -> Celery:
    """The Celery app, configured as in a worker."""
    chosen = replace(settings, redis_url=server_url.redis_url(url))
    return make_app(lambda: chosen)


def queue_length(app: Celery) -> int:
    """Connect as Flower does."""
    broker = Broker(
        app.connection_for_read().as_uri(include_password=True),
        broker_options=app.conf.broker_transport_options,
        broker_use_ssl=app.conf.broker_use_ssl,
    )
    return int(asyncio.run(broker.queues(["planner"]))[0]["messages"])


def test_an_unknown_certificate_is_refused_by_every_library(our_settings: Settings, tls_url: str) -> None:
    app = app_on(our_settings, tls_url)

    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        open_client(server_url.redis_url(tls_url)).ping()
    with pytest.raises(OperationalError, match="certificate verify failed"):
        app.connection_for_write().ensure_connection(max_retries=1)
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        queue_length(app)


@pytest.mark.parametrize("wish", ["?ssl_ca_certs={}", "?ssl_cert_reqs=none"])
def test_a_known_certificate_or_verification_turned_off_works_in_every_library(
    our_settings: Settings, tls_url: str, certificate: Path, wish: str
) -> None:
    url = tls_url + wish.format(certificate)
    app = app_on(our_settings, url)

    assert open_client(server_url.redis_url(url)).ping()
    app.send_task("tasks.plan", queue="planner")
    assert queue_length(app) == 1


def test_a_certificate_of_another_name_is_refused(
    our_settings: Settings, tls_url: str, certificate: Path
) -> None:
    url = tls_url.replace("localhost", "127.0.0.2") + f"?ssl_ca_certs={certificate}"

    with pytest.raises(redis.ConnectionError, match="IP address mismatch"):
        open_client(server_url.redis_url(url)).ping()
    with pytest.raises(OperationalError, match="IP address mismatch"):
        app_on(our_settings, url).connection_for_write().ensure_connection(max_retries=1)

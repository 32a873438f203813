"""Fixtures: the API's app on real servers, and clients of it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from threading import Thread
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from api.app import create_app
from api.middleware import audit
from api.middleware.audit_buffer import AuditBuffer
from api.routes import readiness
from api.streaming.hub import hub_of
from orchestrator import settings as settings_module
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import transaction
from orchestrator.cli.client import ApiClient
from orchestrator.cli.main import main
from orchestrator.memory import keys
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.live_server import Api, EventWriter, serving
from tests.integration.kit import TENANT


class Caller:
    """A client that sends the same token with every call."""

    def __init__(self, app: Flask, token: str | None) -> None:
        self._client = app.test_client()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, **request: Any) -> TestResponse:
        """Send a request; `json`, `data`, `headers` and so on as Flask's test client takes them."""
        headers = {**self._headers, **request.pop("headers", {})}
        return self._client.open(path, method=method, headers=headers, **request)


AsCaller = Callable[..., Caller]
Octollm = Callable[..., tuple[int, str]]


class TrackedBuffer(AuditBuffer):
    """A buffer that the fixtures can flush, whichever app it belongs to."""

    made: ClassVar["WeakSet[TrackedBuffer]"] = WeakSet()

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.made.add(self)


@pytest.fixture(scope="session", autouse=True)
def track_buffers() -> Iterator[None]:
    """Make each app of these tests use a buffer that the fixtures can flush."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "AuditBuffer", TrackedBuffer)
        yield


@pytest.fixture(autouse=True)
def flush_audit_buffers(track_buffers: None) -> Iterator[None]:
    """Write the buffered audit entries after each test, so that they don't appear in the next one."""
    yield
    for buffer in list(TrackedBuffer.made):
        # some tests' apps have no database
        with suppress(SQLAlchemyError):
            buffer.flush()


@pytest.fixture(scope="session")
def settings(postgres_url: str, redis_url: str) -> Settings:
    """The settings of the session's servers, with a high rate limit and little logging.

    A model is configured but never called, so goals that no recipe fits are accepted.
    """
    no_limit = Rate(1_000_000, 60)
    quiet = replace(settings_module.load(), log_level="error")
    return replace(quiet, rate_limit=no_limit, failed_auth_limit=no_limit, openai_api_key="none")


@pytest.fixture(scope="session")
def app(settings: Settings) -> Iterator[Flask]:
    """One app for the session."""
    made = create_app(settings)
    yield made
    hub_of(made).stop()


@pytest.fixture(autouse=True)
def no_readiness_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make GET /ready query the servers each time: tests call it more often than once a second."""
    monkeypatch.setattr(readiness, "CACHE_SECONDS", 0.0)


@pytest.fixture
def as_caller(app: Flask, settings: Settings) -> AsCaller:
    """Return a function that makes a caller of a tenant with scopes (all by default)."""

    def make(tenant: str = TENANT, scopes: tuple[str, ...] = SCOPES) -> Caller:
        return Caller(app, sign_token(settings, tenant=tenant, key_id=f"key-of-{tenant}", scopes=scopes))

    return make


@pytest.fixture
def key_row(engine: Engine) -> str:
    """The API key of `call` in the database, where a schedule looks for it; its id."""
    with transaction(engine) as conn:
        conn.exec_driver_sql(
            "INSERT INTO api_keys (id, tenant, environment, secret_sha256, scopes)"
            " VALUES (%(id)s, %(tenant)s, 'test', repeat('0', 64), %(scopes)s)",
            {"id": f"key-of-{TENANT}", "tenant": TENANT, "scopes": list(SCOPES)},
        )
    return f"key-of-{TENANT}"


@pytest.fixture
def call(as_caller: AsCaller) -> Caller:
    """A caller with all scopes, of the tenant that `engineer` works for."""
    return as_caller()


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[Api]:
    """An API server."""
    with serving(settings) as running:
        yield running


@pytest.fixture
def event_writer(engine: Engine, settings: Settings) -> EventWriter:
    """Appends events to tasks."""
    return EventWriter(engine, settings)


@pytest.fixture
def server(app: Flask, settings: Settings) -> Iterator[ApiClient]:
    """The API on its own port, and a token with all scopes."""
    listening = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    token = sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES)
    yield ApiClient(f"http://127.0.0.1:{listening.server_port}", token)
    listening.shutdown()
    thread.join()


@pytest.fixture
def octollm(server: ApiClient, capsys: pytest.CaptureFixture[str]) -> Octollm:
    """Run the command; return its exit status and its output, stderr last."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--url", server.url, "--token", server.token or "", *arguments])
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out + written.err

    return run


OWN = {"Origin": "http://localhost"}


class Browser:
    """A browser's part in a session: it keeps cookies, and sends Origin as told."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def __call__(self, method: str, path: str, **request: Any) -> TestResponse:
        """Send a request with the cookies, and as a page of ours unless `headers` say otherwise."""
        request.setdefault("headers", OWN)
        return self.client.open(path, method=method, **request)

    def sign_in(self, **credential_: str) -> TestResponse:
        """Send a credential."""
        return self("POST", "/v1/auth/session", json=credential_)

    def forget(self) -> None:
        """Remove the cookie."""
        self.client.delete_cookie("octollm_session")

    def plant(self, token: str) -> None:
        """Set the cookie to something."""
        self.client.set_cookie("octollm_session", token)


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser without cookies."""
    return Browser(app)


@pytest.fixture
def key(engine: Engine) -> str:
    """An API key of the tenant acme with every scope."""
    return make_key(engine)[1]


def make_key(engine: Engine, *, tenant: str = "acme", scopes: tuple[str, ...] = SCOPES) -> tuple[str, str]:
    """Return a new key's id and text."""
    with transaction(engine) as conn:
        record, text = keys.create(conn, tenant=tenant, scopes=scopes)
    return record.id, text

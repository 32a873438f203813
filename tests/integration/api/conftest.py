"""The API's app on real servers, and callers of it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.test import TestResponse

from api.app import create_app
from api.middleware import audit
from api.middleware.audit_buffer import AuditBuffer
from api.routes import readiness
from api.streaming.hub import hub_of
from orchestrator import settings as settings_module
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.settings import Rate, Settings
from tests.integration.api.live_server import Api, Narrator, serving
from tests.integration.kit import TENANT


class Caller:
    """A client that shows the same token with every call."""

    def __init__(self, app: Flask, token: str | None) -> None:
        self._client = app.test_client()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, **request: Any) -> TestResponse:
        """Send a request; `json`, `data`, `headers` and so on as Flask's test client takes them."""
        headers = {**self._headers, **request.pop("headers", {})}
        return self._client.open(path, method=method, headers=headers, **request)


AsCaller = Callable[..., Caller]


class KnownBuffer(AuditBuffer):
    """A buffer that the tests can find again, whichever app it belongs to."""

    made: ClassVar["WeakSet[KnownBuffer]"] = WeakSet()

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.made.add(self)


@pytest.fixture(scope="session", autouse=True)
def known_buffers() -> Iterator[None]:
    """Each app of these tests has a buffer that the tests can find again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "AuditBuffer", KnownBuffer)
        yield


@pytest.fixture(autouse=True)
def nothing_is_written_later(known_buffers: None) -> Iterator[None]:
    """Write what a test's apps hold for the audit log, so that the next test does not find it."""
    yield
    for buffer in list(KnownBuffer.made):
        # some tests' apps have no database
        with suppress(SQLAlchemyError):
            buffer.flush()


@pytest.fixture(scope="session")
def settings(postgres_url: str, redis_url: str) -> Settings:
    """The settings of the session's servers; tests call more often than people, and read no log of it.

    A model is configured, which nobody asks here: goals that no recipe fits are accepted.
    """
    often = Rate(1_000_000, 60)
    quiet = replace(settings_module.load(), log_level="error")
    return replace(quiet, rate_limit=often, failed_auth_limit=often, openai_api_key="none")


@pytest.fixture(scope="session")
def app(settings: Settings) -> Iterator[Flask]:
    """One app for the session, as a process has."""
    made = create_app(settings)
    yield made
    hub_of(made).stop()


@pytest.fixture(autouse=True)
def asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """GET /ready asks the servers each time: tests ask more often than once a second."""
    monkeypatch.setattr(readiness, "CACHE_SECONDS", 0.0)


@pytest.fixture
def as_caller(app: Flask, settings: Settings) -> AsCaller:
    """Make a caller of a tenant with scopes (all by default)."""

    def make(tenant: str = TENANT, scopes: tuple[str, ...] = SCOPES) -> Caller:
        return Caller(app, sign_token(settings, tenant=tenant, key_id=f"key-of-{tenant}", scopes=scopes))

    return make


@pytest.fixture
def call(as_caller: AsCaller) -> Caller:
    """A caller who may do everything, for the tenant that `engineer` works for."""
    return as_caller()


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[Api]:
    """An API that listens."""
    with serving(settings) as running:
        yield running


@pytest.fixture
def narrator(engine: Engine, settings: Settings) -> Narrator:
    """Somebody who makes things happen."""
    return Narrator(engine, settings)

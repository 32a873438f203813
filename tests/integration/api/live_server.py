"""An API server in this process, and a writer of events for tests of its streams."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Thread
from typing import Any

from flask import Flask
from sqlalchemy import Engine
from werkzeug.serving import WSGIRequestHandler, make_server

from api.app import create_app
from api.streaming.hub import Hub, hub_of
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import transaction
from orchestrator.memory import events
from orchestrator.memory.hints import Hints
from orchestrator.settings import Settings
from tests.integration.kit import TENANT
from tests.ws import WebSocket


@dataclass(frozen=True)
class Api:
    """The API on its own port, in threads of this process."""

    url: str
    app: Flask
    settings: Settings

    @property
    def hub(self) -> Hub:
        """The app's hub."""
        return hub_of(self.app)

    def token(self, *, tenant: str = TENANT, scopes: tuple[str, ...] = SCOPES, ttl: int = 600) -> str:
        """Sign a token."""
        return sign_token(self.settings, tenant=tenant, key_id="tests", scopes=scopes, ttl=ttl)

    def open(self, task_id: str, query: str = "", *, token: str | None = None, **how: Any) -> WebSocket:
        """Open a task's stream; an empty `token` sends none."""
        shown = self.token() if token is None else token
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        headers |= how.pop("headers", {})
        return WebSocket.open(self.url, f"/v1/tasks/{task_id}/stream{query}", headers=headers, **how)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], str]:
        """Return status, headers and body of the response; an empty header is not sent."""
        return self._ask("GET", path, headers or {})

    def post(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], str]:
        """Post an empty body and return the response."""
        return self._ask("POST", path, headers or {})

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], str]:
        link = HTTPConnection(self.url.removeprefix("http://"), timeout=40)
        shown = {"Authorization": f"Bearer {self.token()}", **headers}
        try:
            link.request(method, path, headers={name: text for name, text in shown.items() if text})
            answer = link.getresponse()
            return answer.status, dict(answer.headers), answer.read().decode()
        finally:
            link.close()


class _Quiet(WSGIRequestHandler):
    """A handler that logs nothing: its threads may outlive their test."""

    def log(self, *_: object) -> None: ...


@contextmanager
def serving(settings: Settings) -> Iterator[Api]:
    """Serve a new app until the end of the block."""
    app = create_app(settings)
    listening = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Api(f"http://127.0.0.1:{listening.server_port}", app, settings)
    finally:
        hub_of(app).stop()
        listening.shutdown()
        thread.join()
        listening.server_close()


class EventWriter:
    """Appends events to a task, with or without the hint after the commit."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._hints = Hints(settings.redis_url)

    def append(self, task_id: str, *facts: str, hint: bool = True, **payload: Any) -> None:
        """Append events of these types."""
        with transaction(self._engine) as conn:
            events.write(conn, task_id, [(fact, payload) for fact in facts], round_number=1)
        if hint:
            self.hint(task_id)

    def hint(self, task_id: str) -> None:
        """Send the hint for events that were appended elsewhere."""
        self._hints.send(task_id)

"""Assembles the Flask app: `api.app:create_app()` is what gunicorn serves."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from api.middleware import (
    audit,
    auth,
    context,
    cors,
    problem,
    rate_limit,
    request_log,
    unread_body,
)
from api.routes import (
    approval_links,
    approvals,
    arm_statistics,
    arms,
    audit_log,
    budget,
    cancel,
    console,
    dead_letters,
    docs,
    feedback,
    files,
    guide,
    keys,
    mcp,
    plans,
    recipes,
    responses,
    schedules,
    session,
    steps,
    stream,
    system,
    task_lists,
    tokens,
    waiting,
)
from api.streaming import hub, websocket
from orchestrator.bootstrap import for_api
from orchestrator.chord import backend  # noqa: F401  # else Celery loads it inside the first POST: 0.5 s
from orchestrator.observability import log
from orchestrator.settings import Settings

# a new endpoint's module goes here
_ROUTES = (
    tokens,
    session,
    # with the views of tasks
    task_lists,
    budget,
    waiting,
    cancel,
    dead_letters,
    feedback,
    steps,
    stream,
    files,
    arms,
    arm_statistics,
    recipes,
    plans,
    approvals,
    approval_links,
    responses,
    mcp,
    keys,
    audit_log,
    schedules,
)


def create_app(settings: Settings | None = None) -> Flask:
    """Return the app of this process; read the environment if no settings are given."""
    orchestrator = for_api(settings)
    log.configure(orchestrator.settings, service="api")
    app = _App("octollm", static_folder=None)
    app.json = _JsonProvider(app)
    app.config["MAX_CONTENT_LENGTH"] = orchestrator.settings.max_body_bytes
    # an id with slashes gets 404, not a redirect
    app.url_map.merge_slashes = False
    context.install(app, orchestrator)
    hub.install(app, orchestrator)
    arm_statistics.install(app)
    if proxies := orchestrator.settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies)  # type: ignore[method-assign]  # as its manual says
    request_log.install(app)
    unread_body.install(app)
    cors.install(app, orchestrator.settings.cors_origins)
    rate_limit.install(app)
    audit.install(app)
    problem.install(app)
    auth.install(app)
    system.install(app, orchestrator)
    for route in _ROUTES:
        app.register_blueprint(route.blueprint)
    websocket.install(app)
    docs.install(app)
    app.register_blueprint(guide.blueprint)
    console.install(app)
    return app


class _App(Flask):
    """Flask without its check, before each call of a view or hook, whether it is a coroutine: none of ours is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func`."""
        return func


class _JsonProvider(DefaultJSONProvider):
    """Keeps the members of a response in the order in which the view wrote them."""

    sort_keys = False

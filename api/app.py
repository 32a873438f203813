"""Assembles the Flask app: `api.app:create_app()` is what gunicorn serves."""

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from api.middleware import audit, auth, context, cors, leftover, limit, problem, request_log
from api.routes import arms, cancel, dead_letters, docs, feedback, files, stream, system, tasks
from orchestrator.bootstrap import for_api
from orchestrator.chord import backend  # noqa: F401  # else Celery loads it inside the first POST: 0.5 s
from orchestrator.observability import log
from orchestrator.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Make the app of this process; reads the environment when no settings are given."""
    orchestrator = for_api(settings)
    log.configure(orchestrator.settings, service="api")
    app = Flask("octollm", static_folder=None)
    app.json = _JsonProvider(app)
    app.config["MAX_CONTENT_LENGTH"] = orchestrator.settings.max_body_bytes
    # an id that looks like a path is not found, rather than redirected somewhere
    app.url_map.merge_slashes = False
    context.install(app, orchestrator)
    if proxies := orchestrator.settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies)  # type: ignore[method-assign]  # as its manual says
    request_log.install(app)
    leftover.install(app)
    cors.install(app, orchestrator.settings.cors_origins)
    limit.install(app)
    audit.install(app)
    problem.install(app)
    system.install(app, orchestrator)
    for part in (auth, tasks, cancel, dead_letters, feedback, stream, files, arms):
        part.install(app)
    docs.install(app)
    return app


class _JsonProvider(DefaultJSONProvider):
    """Keeps the members of an answer in the order in which they were written."""

    sort_keys = False

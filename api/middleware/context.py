"""Gives a view what belongs to its app and its request: the orchestrator, the hub, the request's id."""

from typing import cast

from flask import Flask, current_app, g

from api.streaming.hub import Hub
from api.streaming.places import StreamPlaces
from orchestrator.orchestrator import Orchestrator

_NAME = "octollm"
_HUB = "octollm_hub"


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Make `orchestrator`, and a hub on its servers, the ones that the app's views get."""
    app.extensions[_NAME] = orchestrator
    app.extensions[_HUB] = Hub(
        orchestrator.engine,
        orchestrator.settings.redis_url,
        places=StreamPlaces(orchestrator.settings.redis_url, most=orchestrator.settings.tenant_max_streams),
    )


def orchestrator() -> Orchestrator:
    """Return the orchestrator of the app that answers."""
    return orchestrator_of(current_app)


def orchestrator_of(app: Flask) -> Orchestrator:
    """Return the orchestrator of an app: for the server that runs it."""
    return cast(Orchestrator, app.extensions[_NAME])


def hub() -> Hub:
    """Return the hub of the app that answers."""
    return hub_of(current_app)


def hub_of(app: Flask) -> Hub:
    """Return the hub of an app: for the server that runs it."""
    return cast(Hub, app.extensions[_HUB])


def request_id() -> str:
    """Return the id of the request being answered; set by api.middleware.request_log before any view runs."""
    return cast(str, g.request_id)

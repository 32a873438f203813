"""Gives a view the orchestrator of its app and the id of its request."""

from typing import cast

from flask import Flask, current_app, g

from orchestrator.orchestrator import Orchestrator

_EXTENSION = "octollm"


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Make `orchestrator` available to the app's views."""
    app.extensions[_EXTENSION] = orchestrator


def orchestrator() -> Orchestrator:
    """Return the orchestrator of the current app."""
    return orchestrator_of(current_app)


def orchestrator_of(app: Flask) -> Orchestrator:
    """Return the orchestrator of an app, for code outside a request."""
    return cast(Orchestrator, app.extensions[_EXTENSION])


def request_id() -> str:
    """Return the current request's id; api.middleware.request_log sets it before any view runs."""
    return cast(str, g.request_id)

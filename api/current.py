"""Gives a view what belongs to its app and its request: the orchestrator, and the request's id."""

from typing import cast

from flask import Flask, current_app, g

from orchestrator.bootstrap import Orchestrator

_NAME = "octollm"


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Make `orchestrator` the one that the app's views get."""
    app.extensions[_NAME] = orchestrator


def orchestrator() -> Orchestrator:
    """Return the orchestrator of the app that answers."""
    return cast(Orchestrator, current_app.extensions[_NAME])


def request_id() -> str:
    """Return the id of the request being answered; set by api.exchange before any view runs."""
    return cast(str, g.request_id)

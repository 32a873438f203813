"""Metadata that each view declares, from which the OpenAPI document, the scopes and the audit log are derived."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from marshmallow import Schema

View = TypeVar("View", bound=Callable[..., Any])
Content = type[Schema] | Mapping[str, Any] | None
"""A schema (sent as application/json), OpenAPI content by media type, or None for an empty body."""


@dataclass(frozen=True)
class Operation:
    """One method of one path; `errors` lists statuses that its scope, parameters and body do not already imply.

    `is_idempotent`: a POST that has the same effect if it is sent twice, with or without an Idempotency-Key.
    `takes_api_key`: the credential is an API key, not a token. `audit_action` is the action's name in the audit log,
    required for every view that changes something.
    """

    responses: Mapping[int, Content]
    errors: tuple[int, ...] = ()
    body: Content = None
    is_body_required: bool = True
    query: type[Schema] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)
    is_idempotent: bool = False
    takes_api_key: bool = False
    audit_action: str | None = None


def describes(responses: Mapping[int, Content], *errors: int, **more: Any) -> Callable[[View], View]:
    """Attach an Operation to a view; `more` are the Operation's other members."""
    operation = Operation(responses, errors, **more)

    def decorate(view: View) -> View:
        view.__dict__["operation"] = operation
        return view

    return decorate


def operation_of(view: Callable[..., Any]) -> Operation:
    """Return the Operation that a view declares. Raises KeyError for a view without `@describes`."""
    operation: Operation = view.__dict__["operation"]
    return operation


def scope_of(view: Callable[..., Any]) -> str | None:
    """Return the scope that a view requires; None for a public view. Raises KeyError for a view that declares none."""
    scope: str | None = view.__dict__["scope"]
    return scope


def public(view: View) -> View:
    """Declare that a view needs no token."""
    view.__dict__["scope"] = None
    return view

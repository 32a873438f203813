"""What a view declares of itself for the API's description: what it takes, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from marshmallow import Schema

View = TypeVar("View", bound=Callable[..., Any])
Shape = type[Schema] | Mapping[str, Any] | None
"""A schema (as application/json), content by media type as OpenAPI writes it, or nothing at all."""


@dataclass(frozen=True)
class Operation:
    """One method of one path; `errors` are those that its parameters and its scope don't already entail."""

    answers: Mapping[int, Shape]
    errors: tuple[int, ...] = ()
    body: Shape = None
    is_body_required: bool = True
    query: type[Schema] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)


def describes(answers: Mapping[int, Shape], *errors: int, **more: Any) -> Callable[[View], View]:
    """Attach an Operation to a view; `more` are the Operation's other members."""
    operation = Operation(answers, errors, **more)

    def decorate(view: View) -> View:
        view.__dict__["operation"] = operation
        return view

    return decorate


def operation_of(view: Callable[..., Any]) -> Operation:
    """Return what a view declares; every one of ours does."""
    operation: Operation = view.__dict__["operation"]
    return operation


def scope_of(view: Callable[..., Any]) -> str | None:
    """Return the scope that a view needs; None for a public one. Raises KeyError for a view that does not say."""
    scope: str | None = view.__dict__["scope"]
    return scope


def public(view: View) -> View:
    """Declare that a view needs no token."""
    view.__dict__["scope"] = None
    return view

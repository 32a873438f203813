"""Who submits or retries a task, and what makes the request the same as an earlier one."""

from dataclasses import dataclass

from orchestrator.models.trace_context import UNTRACED, TraceContext


@dataclass(frozen=True)
class IdempotencyKey:
    """The name under which a body is submitted once; kept for `seconds`. `sha256` is the body's."""

    name: str
    sha256: str
    seconds: int


@dataclass(frozen=True)
class Caller:
    """The authenticated sender of a request; with `idempotency` a repeated request returns the first one's task.

    `trace` has the caller's span, if the request named one.
    """

    tenant: str
    key_id: str | None = None
    scopes: frozenset[str] = frozenset()
    request_id: str | None = None
    idempotency: IdempotencyKey | None = None
    trace: TraceContext = UNTRACED

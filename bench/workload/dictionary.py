"""Simulates a cache with a dictionary: by class for a perfect cache, by key for the exact layer."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from bench.workload.outcome import RAN, Outcome
from bench.workload.stream import Kind, Request
from orchestrator.similarity import canonical_key

_key_of_goal = lru_cache(maxsize=100_000)(canonical_key)


def by_class(request: Request) -> str:
    """Return the request's class, the key of a perfect cache."""
    return request.label


def by_key(request: Request) -> str:
    """Return the request's key in the exact layer."""
    return f"{_key_of_goal(request.goal)} {json.dumps(request.constraints, sort_keys=True)}"


def repeatable(requests: Sequence[Request], *, ttl_seconds: float, service_seconds: float) -> list[bool]:
    """Return, for each request, whether a perfect cache serves it: its class runs, or ended within the TTL."""
    found = _answers(requests, by_class, ttl_seconds=ttl_seconds, service_seconds=service_seconds)
    return [layer != RAN for layer, _ in found]


def answer(requests: Sequence[Request], *, ttl_seconds: float, service_seconds: float) -> list[Outcome]:
    """Serve each request from a fresh result under its key, else run it; return the outcomes."""
    times = {"ttl_seconds": ttl_seconds, "service_seconds": service_seconds}
    could = repeatable(requests, **times)
    found = _answers(requests, by_key, **times)
    return [
        Outcome(request, layer, served, was_repeatable)
        for request, was_repeatable, (layer, served) in zip(requests, could, found, strict=True)
    ]


class _Result(NamedTuple):
    label: str
    done_at: float


def _answers(
    requests: Iterable[Request],
    key_of: Callable[[Request], str],
    *,
    ttl_seconds: float,
    service_seconds: float,
) -> Iterable[tuple[str, str]]:
    """Yield, for each request, the layer that serves it and the class of the result."""
    results: dict[str, _Result] = {}
    for request in requests:
        key = key_of(request)
        found = results.get(key)
        if request.kind is Kind.EFFECT or found is None or request.at >= found.done_at + ttl_seconds:
            results[key] = _Result(request.label, request.at + service_seconds)
            yield RAN, request.label
        else:
            yield ("exact" if request.at >= found.done_at else "coalesced"), found.label

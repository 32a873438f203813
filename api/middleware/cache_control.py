"""Reads what a request wants of the cache, and says what the cache did: RFC 9111's directives, RFC 9211's answer."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import request

from orchestrator.cache.submission_cache import CacheStatus
from orchestrator.models.errors import InvalidInput
from orchestrator.models.task_contract import CACHE_MODES, CacheControl, Contract

_NAME = "octollm"
_DIRECTIVE = re.compile(r'\s*([a-z-]+)(?:\s*=\s*"?(\d{1,9})"?)?\s*', re.IGNORECASE)


def read_member(member: Mapping[str, Any]) -> CacheControl:
    """Return what the contract's member `cache` asks for: {mode, max_age}."""
    control = CACHE_MODES[member["mode"]]
    return control.tightened(_at_most(member["max_age"])) if "max_age" in member else control


def with_header(contract: Contract) -> Contract:
    """Return the contract with what the request's Cache-Control header asks for as well; the tighter holds.

    Raises InvalidInput when a result is to come from the cache and must not come from there.
    """
    for directive in request.headers.get("Cache-Control", "").split(","):
        found = _DIRECTIVE.fullmatch(directive)
        asked = _meaning(found[1].lower(), found[2]) if found else None
        if asked is not None:
            contract = replace(contract, cache=(contract.cache or CacheControl()).tightened(asked))
    if contract.cache is not None and contract.cache.only_cached and not contract.cache.reads:
        raise InvalidInput.at("cache", "only_cached and a fresh result exclude each other")
    return contract


def status_of(cached: CacheStatus) -> str:
    """Return the Cache-Status header of a submission."""
    match cached.outcome:
        case "hit":
            return f"{_NAME}; hit; ttl={int(cached.left_seconds or 0)}; detail={cached.layer}"
        case "coalesced":
            return f"{_NAME}; fwd=miss; collapsed; detail=coalesced"
        case "miss":
            return f"{_NAME}; fwd=miss"
        case "refresh":
            return f"{_NAME}; fwd=request"
        case _:
            return f"{_NAME}; fwd=bypass"


def _meaning(directive: str, seconds: str | None) -> CacheControl | None:
    if directive == "max-age" and seconds is not None:
        return _at_most(int(seconds))
    mode = {"no-cache": "refresh", "no-store": "no_store", "only-if-cached": "only_cached"}.get(directive)
    return CACHE_MODES[mode] if mode else None


def _at_most(seconds: int) -> CacheControl:
    # no result is younger than its request
    return CacheControl(max_age_seconds=seconds) if seconds else CACHE_MODES["refresh"]

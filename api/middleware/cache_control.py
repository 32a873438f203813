"""Maps a request's cache directives (RFC 9111) to the contract, and the cache's outcome to Cache-Status (RFC 9211)."""

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
    """Return the cache control that the contract's member `cache`, {mode, max_age}, describes."""
    control = CACHE_MODES[member["mode"]]
    return control.tightened(_max_age(member["max_age"])) if "max_age" in member else control


def with_header(contract: Contract) -> Contract:
    """Return the contract restricted further by the request's Cache-Control header; the stricter setting wins.

    Raises InvalidInput if the result must come from the cache and must also not come from it.
    """
    for directive in request.headers.get("Cache-Control", "").split(","):
        found = _DIRECTIVE.fullmatch(directive)
        requested = _parse(found[1].lower(), found[2]) if found else None
        if requested is not None:
            contract = replace(contract, cache=(contract.cache or CacheControl()).tightened(requested))
    if contract.cache is not None and contract.cache.only_cached and not contract.cache.reads:
        raise InvalidInput.at("cache", "only_cached and a fresh result exclude each other")
    return contract


def cache_status(cached: CacheStatus) -> str:
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


def _parse(directive: str, seconds: str | None) -> CacheControl | None:
    if directive == "max-age" and seconds is not None:
        return _max_age(int(seconds))
    mode = {"no-cache": "refresh", "no-store": "no_store", "only-if-cached": "only_cached"}.get(directive)
    return CACHE_MODES[mode] if mode else None


def _max_age(seconds: int) -> CacheControl:
    # no stored result has age 0, so max-age=0 means refresh
    return CacheControl(max_age_seconds=seconds) if seconds else CACHE_MODES["refresh"]

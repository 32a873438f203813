"""The public keys of an identity provider (RFC 7517): fetched over HTTPS and cached.

jwt.PyJWKClient would fetch keys too, but it fails as soon as its cache expires while the provider is down, and reads
answers of any size. This cache serves stale keys for STALE_SECONDS, so that a provider's outage logs nobody out.
"""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import jwt
import structlog

from orchestrator.models.errors import Unavailable

# a withdrawn key is rejected after this time, or after STALE_SECONDS while the provider is down
KEPT_SECONDS = 600.0
STALE_SECONDS = 3600.0
# the shortest time between two fetches, even if callers send unknown key ids
PAUSE_SECONDS = 30.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
# the key's type determines the algorithm, never the token's header; symmetric keys are ignored
_ALGORITHMS = {"RSA": "RS256", "OKP": "EdDSA"}
ALGORITHMS = frozenset(_ALGORITHMS.values())

log = structlog.get_logger(__name__)


class KeySet:
    """The keys at one URL; safe for use by several threads, of which one fetches."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or None if the provider has no key of that id. Raises Unavailable without any keys."""
        with self._lock:
            now = time.monotonic()
            is_old = now - self._fetched_at >= KEPT_SECONDS
            if (is_old or key_id not in self._keys) and now - self._tried_at >= PAUSE_SECONDS:
                self._fetch(now)
            if now - self._fetched_at >= STALE_SECONDS:
                raise Unavailable("The keys that verify tokens can't be fetched now.")
            return self._keys.get(key_id)

    def _fetch(self, now: float) -> None:
        self._tried_at = now
        try:
            self._keys = parse_keys(_get(self._url))
        except (OSError, ValueError, http.client.HTTPException) as error:
            log.warning("jwks.fetch_failed", error=type(error).__name__)
        else:
            self._fetched_at = now


def parse_keys(document: bytes) -> dict[str, jwt.PyJWK]:
    """Return the supported signing keys of a JWK set by key id. Raises ValueError if it is not a JWK set."""
    read = json.loads(document)
    if not isinstance(read, dict) or not isinstance(read.get("keys"), list):
        raise ValueError("not a JWK set")
    found = {}
    for entry in read["keys"]:
        if isinstance(entry, dict) and (key := _parse_key(entry)) is not None:
            found[str(entry["kid"])] = key
    return found


def _parse_key(entry: Mapping[str, Any]) -> jwt.PyJWK | None:
    algorithm = _ALGORITHMS.get(str(entry.get("kty")))
    if algorithm is None or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
        return None
    if entry.get("alg", algorithm) != algorithm:
        return None
    public = {name: value for name, value in entry.items() if name != "d"}
    try:
        return jwt.PyJWK(public, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        log.warning("jwks.key_ignored", key_id=entry["kid"], error=type(error).__name__)
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect: only the operator's URL is trusted."""


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    # the setting accepts only https
    with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError("the JWK set is too large")
    return content

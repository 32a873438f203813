"""Keeps the public keys of an identity provider (RFC 7517): fetched by HTTPS, for a limited time."""

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

# a key that the provider withdraws is refused after this, or after STALE_SECONDS while the provider is away
KEPT_SECONDS = 600.0
STALE_SECONDS = 3600.0
# an unknown key id asks the provider at most this often, whatever callers send
PAUSE_SECONDS = 30.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
# the type of the key decides, never the token's header; symmetric keys have no place in a public set
_ALGORITHMS = {"RSA": "RS256", "OKP": "EdDSA"}
ALGORITHMS = frozenset(_ALGORITHMS.values())

log = structlog.get_logger(__name__)


class KeySet:
    """The keys at one address; threads share it, and one of them fetches."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or None when the provider has none of that id. Raises Unavailable without any keys."""
        with self._lock:
            now = time.monotonic()
            is_old = now - self._fetched_at >= KEPT_SECONDS
            if (is_old or key_id not in self._keys) and now - self._tried_at >= PAUSE_SECONDS:
                self._fetch(now)
            if now - self._fetched_at >= STALE_SECONDS:
                raise Unavailable("The keys that tokens are checked with can't be fetched now.")
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
    """Return the signing keys of a JWK set by their ids, those left out that we do not use.

    Raises ValueError for what is no JWK set.
    """
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
        """Follow nowhere: the operator named the one address that is believed."""


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    # settings admit https only
    with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError("the JWK set is too large")
    return content

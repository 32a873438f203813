"""Limits each caller's rate of calls and of failed credentials, and reports what is left in response headers."""

import hashlib
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, g, request

from api.middleware import context, session_cookie
from orchestrator.auth.credential import Principal
from orchestrator.auth.rate_limit import Allowance
from orchestrator.models.errors import InvalidCredential, RateLimited
from orchestrator.settings_text import Rate


def install(app: Flask) -> None:
    """Add the X-RateLimit headers to every response to an authenticated caller."""
    app.after_request(_add_headers)


def charge(principal: Principal) -> None:
    """Charge one call to this key, or to its sessions in browsers; raise RateLimited if the bucket is empty."""
    orchestrator = context.orchestrator()
    is_session = session_cookie.is_presented()
    name = _bucket_name("session" if is_session else "key", principal.tenant, principal.key_id)
    rate = orchestrator.settings.session_rate_limit if is_session else orchestrator.settings.rate_limit
    g.allowance = orchestrator.limiter.take(name, rate)
    _require(g.allowance, rate, "Rate limit")


@contextmanager
def counting_failures() -> Iterator[None]:
    """Charge an invalid credential to the caller's address; raise RateLimited after too many.

    A valid credential is accepted however many invalid ones came from the same address.
    """
    try:
        yield
    except InvalidCredential:
        _charge_address()
        raise


def _charge_address() -> None:
    orchestrator = context.orchestrator()
    rate = orchestrator.settings.failed_auth_limit
    allowance = orchestrator.limiter.take(_bucket_name("address", network_of(request.remote_addr)), rate)
    _require(allowance, rate, "Limit of failed credentials")


def _require(allowance: Allowance, rate: Rate, what: str) -> None:
    if not allowance.is_allowed:
        pause = max(1, allowance.retry_after_seconds)
        raise RateLimited(
            f"{what} of {rate.calls} in {rate.seconds} s exceeded; try again in {pause} s.",
            details={"limit": rate.calls, "window": f"{rate.seconds}s", "retry_after": pause},
        )


def network_of(address: str | None) -> str:
    """Return the address range that counts as one caller: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)


def _bucket_name(kind: str, *parts: str) -> str:
    """Return a bucket name that is unique to `parts`, which may have any length and any characters."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{kind}:{digest.hexdigest()}"


def _add_headers(response: Response) -> Response:
    allowance: Allowance | None = g.get("allowance")
    if allowance is not None:
        response.headers["X-RateLimit-Limit"] = str(allowance.limit)
        response.headers["X-RateLimit-Remaining"] = str(allowance.remaining)
        response.headers["X-RateLimit-Reset"] = str(allowance.reset_at)
    return response

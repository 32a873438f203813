"""Holds callers to their rate, says on every answer what is left of it, and slows down who guesses credentials."""

import hashlib
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, g, request

from api.middleware import context
from orchestrator.auth.credential import Principal
from orchestrator.auth.rate_limit import Allowance
from orchestrator.models.errors import InvalidCredential, RateLimited
from orchestrator.settings import Rate


def install(app: Flask) -> None:
    """Put what is left of the caller's rate on every answer to somebody we know."""
    app.after_request(_tell)


def charge(principal: Principal) -> None:
    """Count a call of this key; raise RateLimited when its bucket is empty."""
    orchestrator = context.orchestrator()
    name = _name("key", principal.tenant, principal.key_id)
    g.allowance = orchestrator.limiter.take(name, orchestrator.settings.rate_limit)
    _require(g.allowance, orchestrator.settings.rate_limit, "Rate limit")


@contextmanager
def counting_failures() -> Iterator[None]:
    """Count a credential that does not hold against the caller's address; raise RateLimited after too many.

    A credential that holds is not held up by others of the same address that do not.
    """
    try:
        yield
    except InvalidCredential:
        _charge_address()
        raise


def _charge_address() -> None:
    orchestrator = context.orchestrator()
    rate = orchestrator.settings.failed_auth_limit
    allowance = orchestrator.limiter.take(_name("address", network_of(request.remote_addr)), rate)
    _require(allowance, rate, "Limit of failed credentials")


def _require(allowance: Allowance, rate: Rate, what: str) -> None:
    if not allowance.is_allowed:
        pause = max(1, allowance.retry_after_seconds)
        raise RateLimited(
            f"{what} of {rate.calls} in {rate.seconds} s exceeded; try again in {pause} s.",
            details={"limit": rate.calls, "window": f"{rate.seconds}s", "retry_after": pause},
        )


def network_of(address: str | None) -> str:
    """Return what one caller holds of addresses: an IPv4 address, the /64 network of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)


def _name(kind: str, *parts: str) -> str:
    """Return a bucket's name: parts of any length and with any characters, never two callers in one."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{kind}:{digest.hexdigest()}"


def _tell(response: Response) -> Response:
    allowance: Allowance | None = g.get("allowance")
    if allowance is not None:
        response.headers["X-RateLimit-Limit"] = str(allowance.limit)
        response.headers["X-RateLimit-Remaining"] = str(allowance.remaining)
        response.headers["X-RateLimit-Reset"] = str(allowance.reset_at)
    return response

"""The console's session: one of our JWTs in a cookie, which counts only in requests of our own pages."""

import re

from flask import Response, g, request

from orchestrator.models.errors import Forbidden

_NAME = "octollm_session"
_PORT = re.compile(r":([0-9]{1,5})\Z")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# none: the reader typed the address, or opened a bookmark
_OWN_SITES = frozenset({"same-origin", "none"})


def name() -> str:
    """Return the cookie's name at the host of the current request.

    It has the port, since browsers keep the cookies of a host's ports together: two servers on one machine would
    otherwise sign each other's users out.
    """
    port = _PORT.search(request.host)
    return f"{_NAME}_{port[1]}" if port else _NAME


def presented() -> str | None:
    """Return the token in the request's cookie; None without one.

    Raises Forbidden for a request that is not from a page of ours and may change something or upgrades to a WebSocket,
    and for one of which the browser says that another page asks.
    """
    token = request.cookies.get(name())
    if not token:
        return None
    is_read = request.method in _SAFE_METHODS and "Upgrade" not in request.headers
    if not is_read or request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        require_own_origin()
    g.is_session = True
    return token


def is_presented() -> bool:
    """Tell whether the current request's credential came from the cookie."""
    return bool(g.get("is_session"))


def require_own_origin() -> None:
    """Raise Forbidden unless the request's Origin header, which browsers set, names the host that it was sent to.

    SameSite=Strict alone admits other ports and other subdomains of the same site. The scheme is not compared: a proxy
    that ends TLS leaves us http.
    """
    host = request.host.lower()
    if request.headers.get("Origin", "").lower() not in {f"http://{host}", f"https://{host}"}:
        raise Forbidden(
            "A session is accepted only from the console's own pages: the Origin header must name this host; "
            "a proxy must pass on the Host header. Other clients send a token.",
            details={"reason": "origin"},
        )


def put(response: Response, token: str, *, max_age_seconds: int) -> None:
    """Make the browser keep the token; no script can read it, and no other site's request carries it."""
    response.set_cookie(
        name(),
        token,
        max_age=max_age_seconds,
        path="/",
        secure=_is_secure(),
        httponly=True,
        samesite="Strict",
    )


def remove(response: Response) -> None:
    """Make the browser forget the token."""
    response.delete_cookie(name(), path="/", secure=_is_secure(), httponly=True, samesite="Strict")


def _is_secure() -> bool:
    """Tell whether the page was loaded over https: the browser says so even behind a proxy that ends TLS."""
    return request.is_secure or request.headers.get("Origin", "").startswith("https:")

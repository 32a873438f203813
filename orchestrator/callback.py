"""Decides where a webhook may go: a named host by HTTPS, and only addresses of the public internet."""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from orchestrator.errors import InvalidInput

MAX_URL_CHARACTERS = 2048
_FIELD = "callback_url"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Target(NamedTuple):
    """A callback URL in parts; `path` has its query."""

    host: str
    port: int
    path: str


def parse_callback(url: str, *, allowed_hosts: Iterable[str], local_targets: Iterable[str]) -> Target:
    """Take a callback URL apart. Raises InvalidInput when it is none, or its host is not allowed.

    `allowed_hosts` are names, or *.names for what is below one; their port is 443. `local_targets` are host:port
    pairs on this machine, for tests. Numeric addresses are names that nobody allows.
    """
    if not re.fullmatch(r"https://[\x21-\x7e]+", url) or len(url) > MAX_URL_CHARACTERS or "\\" in url:
        raise InvalidInput.at(
            _FIELD, f"must be https://host/path in ASCII, at most {MAX_URL_CHARACTERS} long"
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or 443
    except ValueError as error:
        raise InvalidInput.at(_FIELD, "must be https://host/path") from error
    if parts.username is not None or parts.fragment:
        raise InvalidInput.at(_FIELD, "must have neither a user nor a fragment")
    is_local = f"{host}:{port}" in local_targets
    if not is_local and not (port == 443 and any(_fits(host, name) for name in allowed_hosts)):
        raise InvalidInput.at(_FIELD, "its host is not one that WEBHOOK_ALLOWED_HOSTS names, on port 443")
    query = f"?{parts.query}" if parts.query else ""
    return Target(host, port, (parts.path or "/") + query)


def is_public(address: str) -> bool:
    """Tell whether an IP address is of the public internet, also where IPv6 only wraps an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip.sixtofour is not None or ip.teredo is not None or ip in _NAT64:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _fits(host: str, name: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else host == name

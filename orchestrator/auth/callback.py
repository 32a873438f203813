"""Decides which URLs webhooks may be sent to: HTTPS, an allowed host, and only public IP addresses."""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from orchestrator.models.errors import InvalidInput

MAX_URL_CHARACTERS = 2048
_FIELD = "callback_url"
# IANA's registries of special-purpose addresses (RFC 6890), and one cloud's own; Python's lists differ by release
_NOT_PUBLIC = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's internal services
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
_UNICAST = ipaddress.IPv6Network("2000::/3")
# IETF protocols (with Teredo), documentation, 6to4: an address that embeds an IPv4 address may reach a private one
_NOT_PUBLIC_UNICAST = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)


class CallbackTarget(NamedTuple):
    """A parsed callback URL; `path` includes the query."""

    host: str
    port: int
    path: str


def parse_callback(url: str, *, allowed_hosts: Iterable[str], local_targets: Iterable[str]) -> CallbackTarget:
    """Parse a callback URL. Raises InvalidInput if it is malformed or its host is not allowed.

    `allowed_hosts` are host names, or *.domain for all subdomains, on port 443. `local_targets` are host:port pairs
    on this machine, for tests. IP addresses are never allowed.
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
        raise InvalidInput.at(_FIELD, "must not have a user or a fragment")
    is_local = f"{host}:{port}" in local_targets
    if not is_local and not (port == 443 and any(_matches(host, name) for name in allowed_hosts)):
        raise InvalidInput.at(_FIELD, "its host must be in WEBHOOK_ALLOWED_HOSTS, on port 443")
    query = f"?{parts.query}" if parts.query else ""
    return CallbackTarget(host, port, (parts.path or "/") + query)


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    An IPv6 address that embeds an IPv4 address (6to4, Teredo, NAT64) does not; for a mapped one (::ffff:), the IPv4
    address decides.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            is_listed = ip in _UNICAST and not any(ip in network for network in _NOT_PUBLIC_UNICAST)
            return is_listed and ip.is_global
        ip = ip.ipv4_mapped
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


def _matches(host: str, name: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else host == name

"""Decides which URLs of users we may contact: HTTPS, a host that the operator allowed, and only public addresses."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from orchestrator.models.errors import InvalidInput
from orchestrator.settings import Settings

MAX_URL_CHARACTERS = 2048
EXECUTE = "/execute"
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


@dataclass(frozen=True)
class EgressRules:
    """What the operator allows for one kind of URL; `field` and `setting` name both in messages.

    `allowed_hosts` are host names, or *.domain for all subdomains, on port 443. `local_targets` are host:port pairs in
    the operator's own network, whose addresses need not be public. `allows_plain`: http is allowed for those pairs.
    """

    field: str
    setting: str
    allowed_hosts: Collection[str]
    local_targets: Collection[str]
    allows_plain: bool = False

    @classmethod
    def for_webhooks(cls, settings: Settings) -> "EgressRules":
        """Return the rules for a task's callback_url."""
        hosts, local = settings.webhook_allowed_hosts, settings.webhook_local_targets
        return cls("callback_url", "WEBHOOK_ALLOWED_HOSTS", hosts, local)

    @classmethod
    def for_arms(cls, settings: Settings) -> "EgressRules":
        """Return the rules for the URL of an arm."""
        hosts, local = settings.arm_allowed_hosts, settings.arm_local_targets
        return cls("url", "ARM_ALLOWED_HOSTS", hosts, local, allows_plain=True)

    @property
    def allows_any(self) -> bool:
        """Return whether any URL at all is allowed."""
        return bool(self.allowed_hosts or self.local_targets)


class EgressTarget(NamedTuple):
    """A parsed URL that is allowed; `path` includes the query. `is_local`: its addresses need not be public."""

    host: str
    port: int
    path: str
    is_local: bool = False
    is_plain: bool = False


def parse_target(url: str, rules: EgressRules) -> EgressTarget:
    """Parse a user's URL. Raises InvalidInput if it is malformed or its host is not allowed.

    IP addresses are only allowed in `local_targets`.
    """
    is_url = len(url) <= MAX_URL_CHARACTERS and re.fullmatch(r"https?://[\x21-\x7e]+", url)
    if not is_url or "\\" in url or not (rules.allows_plain or url.startswith("https:")):
        raise InvalidInput.at(
            rules.field, f"must be https://host/path in ASCII, at most {MAX_URL_CHARACTERS} long"
        )
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme == "http"
        host, port = (parts.hostname or "").rstrip("."), parts.port or (80 if is_plain else 443)
    except ValueError as error:
        raise InvalidInput.at(rules.field, "must be https://host/path") from error
    if parts.username is not None or parts.fragment:
        raise InvalidInput.at(rules.field, "must not have a user or a fragment")
    is_local = f"{host}:{port}" in rules.local_targets
    is_allowed = not is_plain and port == 443 and any(_matches(host, name) for name in rules.allowed_hosts)
    if not is_local and not is_allowed:
        raise InvalidInput.at(rules.field, f"its host must be in {rules.setting}, with https on port 443")
    query = f"?{parts.query}" if parts.query else ""
    return EgressTarget(host, port, (parts.path or "/") + query, is_local, is_plain)


def execute_target(url: str, rules: EgressRules) -> EgressTarget:
    """Return where the steps of the HTTP arm at `url` are sent. Raises InvalidInput."""
    return parse_target(url.rstrip("/") + EXECUTE, rules)


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

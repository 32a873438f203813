"""Normalises the URLs of Postgres and Redis for every library we use, and rejects unusable ones with a reason."""

import re
import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

DRIVER = "postgresql+psycopg2://"
_POSTGRES_FORM = (
    "postgresql://user:password@host:port/database (several hosts: host1:port1,host2:port2; a unix socket: "
    "postgresql://user@/database?host=/directory)"
)
_REDIS_FORM = (
    "redis://[user:password@]host:port/number, rediss:// for TLS, or unix:///path/to/socket?db=number; special "
    "characters of a password percent-encoded"
)
_SENTINEL = (
    "usable: Sentinel is not supported; give the master's address as redis://host:port/number, through a proxy "
    "or a DNS name that follows a failover"
)
_PARAMETERS = frozenset(
    {"db", "ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
)
_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_REDIS_PORT = 6379
_HIGHEST_PORT = 65535


class _Parts(NamedTuple):
    scheme: str
    user: str
    """The text before the @, as written."""
    hosts: str
    path: str
    query: str


def driver_url(text: str) -> str:
    """Return a Postgres URL for SQLAlchemy, with psycopg2 named (2.1 reads a bare postgresql:// as psycopg 3).

    Several hosts, and a socket's directory in place of the host, become parameters. Raises ValueError for a URL that
    is not of Postgres or can't be parsed.
    """
    parts = _parts(text)
    if parts is None or parts.scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError(_POSTGRES_FORM)
    hosts = [_host(host) for host in parts.hosts.split(",")]
    user = f"{parts.user}@" if parts.user else ""
    _check_ports(parse_qsl(parts.query[1:]))
    if len(hosts) == 1 and not hosts[0][0].startswith("/"):
        return f"{DRIVER}{user}{parts.hosts}{parts.path}{parts.query}"
    if any(host.startswith("[") for host, _ in hosts):
        raise ValueError("usable: with several hosts each must be a name or an IPv4 address")
    pairs = [("host", f"{host}:{port}" if port else host) for host, port in hosts]
    more = f"&{parts.query[1:]}" if parts.query[1:] else ""
    return f"{DRIVER}{user}{parts.path or '/'}?{urlencode(pairs, safe='/:')}{more}"


def redis_url(text: str) -> str:
    """Return a Redis URL for redis-py; TLS verifies the server unless the URL has `ssl_cert_reqs=none`.

    Raises ValueError with the usable forms for a URL that can't be used.
    """
    parts = _parts(text)
    if parts is None:
        raise ValueError(_REDIS_FORM)
    if "sentinel" in parts.scheme:
        raise ValueError(_SENTINEL)
    if parts.scheme in {"unix", "redis+socket"}:
        return _socket_url(parts)
    if parts.scheme not in {"redis", "rediss"} or not re.fullmatch(r"(/\d{0,6})?", parts.path):
        raise ValueError(_REDIS_FORM)
    if "," in parts.hosts or "%" in parts.hosts:
        raise ValueError(f"usable: it must name one host: {_REDIS_FORM}")
    _host(parts.hosts)
    wanted = _parameters(parts.query)
    if parts.scheme == "rediss":
        wanted.setdefault("ssl_cert_reqs", "required")
    elif any(name.startswith("ssl_") for name in wanted):
        raise ValueError("usable: its ssl_ parameters need rediss:// instead of redis://")
    query = f"?{urlencode(wanted, safe='/')}" if wanted else ""
    user = f"{parts.user}@" if parts.user else ""
    return f"{parts.scheme}://{user}{parts.hosts}{parts.path or '/0'}{query}"


def broker_settings(url: str) -> dict[str, Any]:
    """Return Celery's settings for a URL from `redis_url`; Flower reads the TLS settings only from broker_use_ssl."""
    parts = _parts(url)
    if parts is None:
        raise ValueError(_REDIS_FORM)
    wanted = dict(parse_qsl(parts.query[1:]))
    user = f"{_quoted(parts.user)}@" if parts.user else ""
    number = wanted.pop("db", None) or parts.path[1:] or "0"
    if parts.scheme == "unix":
        return {"broker_url": f"redis+socket://{user}{parts.path}?virtual_host={number}"}
    host, port = _host(parts.hosts)
    found: dict[str, Any] = {
        "broker_url": f"{parts.scheme}://{user}{host or 'localhost'}:{port or _REDIS_PORT}/{number}"
    }
    if parts.scheme == "rediss":
        checks_name = wanted.pop("ssl_check_hostname", "true") == "true"
        verify = _VERIFY[wanted.pop("ssl_cert_reqs")]
        found["broker_use_ssl"] = {
            **wanted,
            "ssl_cert_reqs": verify,
            "ssl_check_hostname": checks_name and verify is not ssl.CERT_NONE,
        }
    return found


def _parts(text: str) -> _Parts | None:
    found = re.fullmatch(r"([a-z0-9+.-]+)://([^/?#]*)([^?#]*)(\?[^#]*)?", text, re.IGNORECASE)
    if found is None or re.search(r"[\s\x00-\x1f\x7f]", text):
        return None
    user, _, hosts = found[2].rpartition("@")
    return _Parts(found[1].lower(), user, hosts, found[3], found[4] or "")


def _check_ports(parameters: list[tuple[str, str]]) -> None:
    hosts = [value for name, value in parameters if name == "host"]
    ports = [value for name, value in parameters if name == "port"]
    has_own = len(hosts) > 1 or any(":" in host for host in hosts)
    if (ports and has_own) or any(not re.fullmatch(r"\d{1,5}(,\d{0,5})*", port) for port in ports):
        raise ValueError("usable: write ?host=h1:port1&host=h2:port2, or ?host=h1,h2&port=port1,port2")


def _host(text: str) -> tuple[str, str]:
    """Return host and port, each possibly empty. For Postgres a percent-encoded directory is a host."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{0,5}))?", text)
    if found is None or int(found[2] or 1) not in range(1, _HIGHEST_PORT + 1):
        raise ValueError(
            "usable: its port must follow the host and a colon, from 1 to 65535 (IPv6: [::1]:port)"
        )
    host = unquote(found[1])
    if not host.startswith(("/", "[")):
        try:
            is_name = re.search(r"[\s\x00-\x1f%]", host) is None and host.encode("idna") is not None
        except UnicodeError:
            is_name = False
        if not is_name:
            raise ValueError("usable: its host is not a valid host name")
    return host, found[2] or ""


def _socket_url(parts: _Parts) -> str:
    if parts.hosts or parts.path in {"", "/"}:
        raise ValueError("usable: a socket needs its absolute path: unix:///path/to/socket?db=number")
    wanted = _parameters(parts.query.replace("virtual_host=", "db="))
    if set(wanted) - {"db"}:
        raise ValueError("usable: a socket has no TLS and accepts only ?db=number")
    user = f"{parts.user}@" if parts.user else ""
    return f"unix://{user}{parts.path}?db={wanted.get('db', '0')}"


def _parameters(query: str) -> dict[str, str]:
    wanted = dict(parse_qsl(query[1:], keep_blank_values=True))
    unknown = sorted(set(wanted) - _PARAMETERS)
    if unknown:
        raise ValueError(
            f"usable: its parameters may be {', '.join(sorted(_PARAMETERS))}, not {unknown[0][:40]}"
        )
    if not re.fullmatch(r"\d{1,6}", wanted.get("db", "0")):
        raise ValueError("usable: db must be a number")
    if "ssl_cert_reqs" in wanted:
        wanted["ssl_cert_reqs"] = wanted["ssl_cert_reqs"].lower().removeprefix("cert_")
        if wanted["ssl_cert_reqs"] not in _VERIFY:
            raise ValueError("usable: ssl_cert_reqs must be required, optional or none")
    if "ssl_check_hostname" in wanted:
        wanted["ssl_check_hostname"] = wanted["ssl_check_hostname"].lower()
        if wanted["ssl_check_hostname"] not in {"true", "false"}:
            raise ValueError("usable: ssl_check_hostname must be true or false")
    return wanted


def _quoted(user: str) -> str:
    """Return user and password with special characters encoded: Celery reads a ; as the start of the next server."""
    name, colon, password = user.partition(":")
    return quote(unquote(name), safe="") + colon + quote(unquote(password), safe="")

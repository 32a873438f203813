"""Declares settings and parses their texts; the message of a parser's ValueError completes "it is not ..."."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field
from typing import Any, NamedTuple

_PERIOD_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class Rate(NamedTuple):
    """A rate limit: `calls` within `seconds`."""

    calls: int
    seconds: int


def setting(parse: Callable[[str], Any], *, default: Any = MISSING, secret: bool = False) -> Any:
    """Declare a setting as a dataclass field; `parse` converts its text, or raises ValueError."""
    return field(default=default, repr=not secret, metadata={"parse": parse, "secret": secret})


def integer(*, minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return the parser of a whole number within bounds."""
    wanted = f"a whole number of at least {minimum}" + (
        f" and at most {maximum}" if maximum is not None else ""
    )

    def parse(text: str) -> int:
        if (
            not re.fullmatch(r"-?\d{1,18}", text)
            or int(text) < minimum
            or (maximum is not None and int(text) > maximum)
        ):
            raise ValueError(wanted)
        return int(text)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return the parser of one of some words, in lower case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text.lower()

    return parse


def any_text(text: str) -> str:
    """Return the text as it is."""
    return text


def parse_signing_secret(text: str) -> str:
    """Return a secret that signs. Raises ValueError."""
    if len(text.encode()) < 32:
        raise ValueError("at least 32 bytes (openssl rand -base64 48)")
    return text


def parse_long_secret(text: str) -> str:
    """Return a secret that is compared. Raises ValueError."""
    if not re.fullmatch(r"[!-~]{16,}", text):
        raise ValueError("at least 16 ASCII characters without spaces (openssl rand -hex 24)")
    return text


def parse_https_url(text: str) -> str:
    """Return a URL with https. Raises ValueError."""
    if not re.fullmatch(r"https://[^\s/@]+/\S*", text):
        raise ValueError("https://host/path")
    return text


def parse_public_url(text: str) -> str:
    """Return the URL under which others reach the API, without a slash at its end. Raises ValueError."""
    if not re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?", text):
        raise ValueError("https://host or https://host/path, without a query")
    return text.rstrip("/")


def parse_index_url(text: str) -> str:
    """Return the URL of a package index. Raises ValueError."""
    if not re.fullmatch(r"https?://([^\s/@]+@)?[A-Za-z0-9._-]{1,255}(:\d{1,5})?/[^\s?#@]*", text):
        raise ValueError("https://host/simple or https://user:password@host/simple")
    return text


def parse_commands(text: str) -> Mapping[str, tuple[str, ...]]:
    """Parse NAME=PROGRAM ARGUMENT... entries, separated by semicolons. Raises ValueError."""
    commands = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        name, _, words = entry.partition("=")
        try:
            argv = tuple(shlex.split(words))
        except ValueError:
            argv = ()
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name) or not argv or not argv[0].startswith("/"):
            raise ValueError("NAME=/path/to/program ARGUMENT... entries, separated by semicolons")
        commands[name] = argv
    return commands


def parse_rate(text: str) -> Rate:
    """Parse calls/period. Raises ValueError."""
    calls, _, period = text.partition("/")
    if not re.fullmatch(r"[1-9]\d{0,8}", calls) or period not in _PERIOD_SECONDS:
        raise ValueError(f"calls/period, where the period is one of {', '.join(_PERIOD_SECONDS)}: 100/minute")
    return Rate(int(calls), _PERIOD_SECONDS[period])


def parse_seconds(text: str) -> float:
    """Return a number of seconds above 0. Raises ValueError."""
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text) or float(text) <= 0:
        raise ValueError("a number of seconds above 0")
    return float(text)


def parse_seconds_or_zero(text: str) -> float:
    """Return a number of seconds, which may be 0. Raises ValueError."""
    return 0.0 if re.fullmatch(r"0+(\.0+)?", text) else parse_seconds(text)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Parse host names. Raises ValueError."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not all(re.fullmatch(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+", name) for name in names):
        raise ValueError("host names, or *.domain for all its subdomains, separated by commas")
    if any(re.fullmatch(r"[\d.]+", name) for name in names):
        raise ValueError("host names, not IP addresses")
    return names


def parse_local_targets(text: str) -> tuple[str, ...]:
    """Parse host:port pairs. Raises ValueError."""
    pairs = tuple(pair.strip().lower() for pair in text.split(",") if pair.strip())
    if not all(re.fullmatch(r"[a-z0-9.-]+:\d{1,5}", pair) for pair in pairs):
        raise ValueError("host:port pairs, separated by commas")
    return pairs


def parse_listen(text: str) -> tuple[str, int]:
    """Parse the address and the port at which a process listens. Raises ValueError."""
    found = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if not found or int(found[2]) > 65_535:
        raise ValueError("address:port, such as 127.0.0.1:9464, 0.0.0.0:9464 or [::]:9464")
    return found[1].strip("[]"), int(found[2])


def parse_origins(text: str) -> tuple[str, ...]:
    """Return origins as browsers send them (RFC 6454): without the scheme's default port. Raises ValueError."""
    origins = tuple(origin.strip().lower() for origin in text.split(",") if origin.strip())
    if not all(
        re.fullmatch(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?", origin) for origin in origins
    ):
        raise ValueError(
            "a list of origins (https://app.example.com, http://localhost:3000) without a path, separated by commas"
        )
    return tuple(re.sub(r"^(http://.*):80$|^(https://.*):443$", r"\1\2", origin) for origin in origins)

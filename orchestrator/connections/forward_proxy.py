"""Reads the proxy for model requests from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""

import re
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def proxy_for(scheme: str, host: str) -> str:
    """Return the URL of the proxy for `host` from the environment; an empty string for none."""
    if urllib.request.proxy_bypass(host):
        return ""
    named = urllib.request.getproxies()
    text = named.get(scheme) or named.get("all") or ""
    return proxy_url(text) if text else ""


def proxy_url(text: str) -> str:
    """Return the URL of an HTTP proxy, given as a URL or host:port; raises ValueError for other kinds of proxy."""
    whole = text.strip() if "://" in text else f"http://{text.strip()}"
    scheme = whole.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise ValueError("http://host:port: SOCKS proxies are not supported")
    if scheme not in ("http", "https") or not _names_a_host(whole):
        raise ValueError("http://host:port")
    return whole


def find_faults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the expected form of each invalid proxy variable, by the variable's name."""
    faults = {}
    for name, text in environ.items():
        if name.upper() in NAMES and text.strip():
            try:
                proxy_url(text)
            except ValueError as wrong:
                faults[name] = str(wrong)
    return faults


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(
            parts.hostname and re.fullmatch(r"[!-~]+", url) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False

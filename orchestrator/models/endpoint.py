"""Servers of models: OpenAI's, Anthropic's, and those that the file of LLM_ENDPOINTS names."""

import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from orchestrator.models.model_choice import PROVIDERS, Price, parse_price

KEY_SUFFIX = "_API_KEY"
"""Variables with this ending are secrets of model servers; processes that ask no model do not get them."""

CAPABILITIES = (
    "json_schema",
    "large_schema",
    "json_object",
    "system",
    "max_completion_tokens",
    "stream",
    "responses",
    "effort",
)
"""What a server may or may not support. What the operator does not say is learned."""

BASE_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(rf"[A-Z][A-Z0-9_]{{0,60}}{KEY_SUFFIX}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")
_MOST = 10**9


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server of models, which speaks one protocol: `openai` or `anthropic`.

    `url` None is the provider's own address. `key` names the variable of the API key; `api_key` is its value. A header
    `$NAME_API_KEY` has that variable's value. `token_command` prints a bearer token. `api_version` is the query
    parameter api-version (Azure), or Anthropic's header anthropic-version. `prices` maps patterns of model names to
    prices. `missing` lists the variables that are not set.
    """

    name: str
    protocol: str = "openai"
    url: str | None = field(default=None, repr=False)
    key: str | None = None
    api_key: str | None = field(default=None, repr=False)
    token_command: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_version: str | None = None
    context_window: int | None = None
    output_limit: int | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The base URL; it may hold a secret."""
        return self.url or BASE_URLS[self.protocol]

    @property
    def host(self) -> str:
        """The base URL's host and port, which are no secret."""
        parts = urlsplit(self.address)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def with_secrets(
    endpoints: Mapping[str, Endpoint] | None, environ: Mapping[str, str]
) -> Mapping[str, Endpoint]:
    """Return the endpoints with the values of their variables. Raises ValueError for a key that can't be sent."""
    return MappingProxyType(
        {name: _with_secrets(found, environ) for name, found in (endpoints or {}).items()}
    )


def fault_of_use(endpoint: Endpoint | None, name: str, *, embeds: bool) -> str:
    """Return why a setting can't name this endpoint, as the end of "SETTING names NAME"; else an empty string."""
    if endpoint is None:
        return (
            f", which is neither a provider ({', '.join(PROVIDERS)}) nor an endpoint of LLM_ENDPOINTS: correct it, "
            "or add the endpoint"
        )
    if embeds and endpoint.protocol != "openai":
        return ": only endpoints with the protocol openai have embeddings"
    if name in PROVIDERS and not (endpoint.api_key or endpoint.url):
        upper = name.upper()
        return f": set {upper}_API_KEY, or {upper}_BASE_URL to a server that needs no key"
    if endpoint.missing:
        return f": set {', '.join(endpoint.missing)}, which the file of LLM_ENDPOINTS names"
    return ""


def read_endpoints(path_text: str) -> Mapping[str, Endpoint]:
    """Return {name: endpoint} of a TOML file with one table for each endpoint. Raises ValueError."""
    try:
        document = tomllib.loads(Path(path_text).read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise ValueError(f"the path of a TOML file that can be read ({reason})") from None
    return MappingProxyType({name: _endpoint(name, table) for name, table in document.items()})


def parse_url(text: str) -> str:
    """Return a base URL without its trailing slash. Raises ValueError."""
    if not re.fullmatch(r"https?://[!-~]+", text) or not _has_host(text):
        raise ValueError("http://host:port/path or https://host/path")
    url = text.rstrip("/")
    if url.endswith(("/chat/completions", "/messages", "/embeddings", "/responses")):
        raise ValueError(
            "the base URL without /chat/completions, /responses, /v1/messages or /embeddings, which we append"
        )
    return url


def parse_key(text: str) -> str:
    """Return an API key. Raises ValueError."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("one line of ASCII characters without spaces, as the provider shows it")
    return text


def _endpoint(name: str, table: Any) -> Endpoint:
    if not _NAME.fullmatch(name) or name in PROVIDERS or not isinstance(table, dict):
        raise ValueError(
            f"a file of endpoints: [{name}] must be a table, and its name lower-case letters, digits, _ and -, "
            f"but not {' or '.join(PROVIDERS)}"
        )
    if unknown := sorted(table.keys() - _MEMBERS.keys()):
        raise ValueError(f"a file of endpoints: {name}.{unknown[0]} is unknown; use {', '.join(_MEMBERS)}")
    if "url" not in table:
        raise ValueError(f"a file of endpoints: {name}.url is missing")
    values = {}
    for member, value in table.items():
        try:
            values[member] = _MEMBERS[member](value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"a file of endpoints: {name}.{member} must be {error}") from None
    return Endpoint(name=name, **values)


def _with_secrets(endpoint: Endpoint, environ: Mapping[str, str]) -> Endpoint:
    named = {name: text[1:] for name, text in endpoint.headers.items() if text.startswith("$")}
    wanted = {*named.values(), *([endpoint.key] if endpoint.key else [])}
    values = {name: environ[name] for name in wanted if name in environ}
    for name, value in values.items():
        try:
            parse_key(value)
        except ValueError as error:
            raise ValueError(f"{name} is wrong: its value is not {error}") from None
    known = {name: values[variable] for name, variable in named.items() if variable in values}
    return replace(
        endpoint,
        api_key=values.get(endpoint.key or ""),
        headers=MappingProxyType({**endpoint.headers, **known}),
        missing=tuple(sorted(wanted - values.keys())),
    )


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _string(check: Callable[[str], Any]) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("a string")
        return check(value)

    return parse


def _protocol(text: str) -> str:
    if text not in PROVIDERS:
        raise ValueError(f"one of {', '.join(PROVIDERS)}")
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError(f"the name of a variable that ends with {KEY_SUFFIX}, not a key itself")
    return text


def _command(text: str) -> tuple[str, ...]:
    words = tuple(shlex.split(text))
    if not words:
        raise ValueError("a command that prints a token")
    return words


def _version(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,40}", text):
        raise ValueError("a version such as preview or 2025-04-01-preview")
    return text


def _headers(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('a table such as {"x-team" = "search", "x-gateway-key" = "$GATEWAY_API_KEY"}')
    for name, text in value.items():
        is_variable = text.startswith("$") and _VARIABLE.fullmatch(text[1:])
        if not _HEADER.fullmatch(name) or not (is_variable or re.fullmatch(r"[ -#%-~][ -~]*", text)):
            raise ValueError(f"a table of headers: {name[:60]} has no usable name or value")
    return MappingProxyType(dict(value))


def _tokens(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _MOST:
        raise ValueError("a whole number of tokens above 0")
    return value


def _prices(value: Any) -> Mapping[str, Price]:
    if not isinstance(value, dict):
        raise ValueError('a table such as {"*" = {input = 0.15, output = 0.6}}')
    return MappingProxyType({pattern: parse_price(price) for pattern, price in value.items()})


def _capabilities(value: Any) -> Mapping[str, bool]:
    known = isinstance(value, dict) and set(value) <= set(CAPABILITIES)
    if not known or not all(isinstance(flag, bool) for flag in value.values()):
        raise ValueError(f"a table of true and false for {', '.join(CAPABILITIES)}")
    return MappingProxyType(dict(value))


_MEMBERS: Mapping[str, Callable[[Any], Any]] = {
    "protocol": _string(_protocol),
    "url": _string(parse_url),
    "key": _string(_variable),
    "token_command": _string(_command),
    "headers": _headers,
    "api_version": _string(_version),
    "context_window": _tokens,
    "output_limit": _tokens,
    "prices": _prices,
    "capabilities": _capabilities,
}

"""Formats every log line of a process, including the libraries': one format, with the current ids, without secrets."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from typing import Any, Final, TextIO
from urllib.parse import unquote, urlsplit

import structlog

from orchestrator.safety import maskable
from orchestrator.settings import Settings
from orchestrator.settings_file import read_env_file

_CAPTURED = ("gunicorn.error", "gunicorn.access", "werkzeug", "celery", "celery.task", "celery.redirected")
# Celery's trace logs a task's return value at INFO
_NOISY = ("kombu", "amqp", "alembic", "httpx", "celery.app.trace", "celery.worker.strategy")
_MASKED_KINDS = ("secret.", "pii.card", "pii.iban", "pii.email", "pii.ssn")
# on every line, set by us: they never contain a client's text
_OUR_KEYS = frozenset(
    {"level", "logger", "timestamp", "task_id", "trace_id", "step_id", "arm", "attempt", "round", "pid"}
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
# a scan takes 1 ms or more: it runs only on text that may contain a number, an address, a token or a secret
_SUSPECT = re.compile(
    r"@|\d(?:[ -]?\d){6}|[A-Za-z0-9_+-]{16}|passw|secret|token|key|bearer|credential|authoriz", re.IGNORECASE
)
_OUR_IDS = re.compile(
    r"\b(?:req|task|plan)_[0-9A-Za-z]{16}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_MAX_CHARACTERS = 1_000
# the end of a traceback has the cause
_MAX_TRACEBACK_CHARACTERS = 6_000
_TRACEBACKS = frozenset({"exception", "stack"})
# for all values of one line together
_MAX_LINE_CHARACTERS = 16_000
_MAX_ITEMS = 100
# scanned beyond a cut, so that a secret across the cut is still found
_MARGIN = 256
_MASK: Final = "[redacted]"
# read by OpenTelemetry's exporter: name=value, separated by commas, with percent-encoding
_COLLECTOR_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
# masking shorter secrets would also mask ordinary words
_SHORTEST_SECRET = 6
_MAX_DEPTH = 6

Event = MutableMapping[str, Any]


def configure(settings: Settings, *, service: str, stream: TextIO | None = None) -> None:
    """Send all logs of the process to `stream` (default: the real stderr); a further call replaces the first.

    `service` names the process on every line (api, worker, sweeper, cli). LOG_FORMAT auto means console on a
    terminal, else one JSON object per line. Handlers of gunicorn and Celery are removed.
    """
    # Celery replaces sys.stderr by a proxy that logs
    stream = stream or sys.__stderr__ or sys.stderr
    chain = _shared_processors(service, _secret_values(settings))
    structlog.configure(
        # first, so that a line below the level costs no masking
        processors=[
            structlog.stdlib.filter_by_level,
            *chain,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *chain],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings, stream),
            ],
        )
    )
    _take_over(handler, settings.log_level)
    if env_file := read_env_file():
        structlog.get_logger(__name__).info("settings.env_file", path=str(env_file))


@contextmanager
def bound(**values: Any) -> Iterator[None]:
    """Add `values` (request_id, task_id, step_id, ...) to every line logged within the block, also by libraries."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def bind(**values: Any) -> None:
    """Add `values` to every following line of this thread, until `unbind`."""
    structlog.contextvars.bind_contextvars(**values)


def unbind() -> None:
    """Remove what `bind` added to this thread's lines."""
    structlog.contextvars.clear_contextvars()


def _shared_processors(service: str, secrets: tuple[str, ...]) -> list[Callable[[Any, str, Event], Event]]:
    # honcho and `octollm up` name their processes: coder.2
    names = {"service": service, "process": os.environ.get("HONCHO_PROCESS_NAME") or service}

    def name_process(_logger: Any, _method: str, event: Event) -> Event:
        event.update(names, pid=os.getpid())
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        name_process,
        Redactor(secrets),
    ]


def _secret_values(settings: Settings) -> tuple[str, ...]:
    """Return what must never be logged: secret settings, passwords in their URLs, a trace collector's keys."""
    values = [getattr(settings, field.name) for field in fields(settings) if field.metadata.get("secret")]
    texts = [value for value in values if isinstance(value, str)]
    passwords = [urlsplit(text).password or "" for text in texts if "://" in text]
    headers = [part for name in _COLLECTOR_HEADERS for part in os.environ.get(name, "").split(",")]
    keys = [unquote(part.partition("=")[2].strip()) for part in headers]
    return tuple(text for text in (*texts, *passwords, *keys) if len(text) >= _SHORTEST_SECRET)


def _renderer(settings: Settings, stream: TextIO) -> Callable[[Any, str, Event], str | bytes]:
    console = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    if console:
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return structlog.processors.JSONRenderer(default=str)


def _take_over(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CAPTURED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _CharacterBudget:
    """The number of characters that are left for one line."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def take(self, maximum: int) -> int:
        """Reserve up to `maximum` characters for a value; return how many."""
        taken = min(maximum, self._left)
        self._left -= taken
        return taken


class Redactor:
    """A structlog processor that masks known secrets, and secrets and personal data found by orchestrator.safety."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if secrets else None

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        """Return the event with every string, at any depth, shortened and masked."""
        budget = _CharacterBudget(_MAX_LINE_CHARACTERS)
        for key, value in event.items():
            if key in _TRACEBACKS and isinstance(value, str):
                event[key] = self._clean_end(value)
            elif key not in _OUR_KEYS:
                event[key] = self._clean(value, budget, depth=0)
        return event

    def _clean(self, value: Any, budget: _CharacterBudget, *, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            return {
                self._clean(str(key), budget, depth=depth): self._clean(item, budget, depth=depth + 1)
                for key, item in islice(value.items(), _MAX_ITEMS)
            }
        if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
            return [self._clean(item, budget, depth=depth + 1) for item in islice(value, _MAX_ITEMS)]
        text = str(value)
        return self._clean_start(text, maximum=budget.take(min(len(text), _MAX_CHARACTERS)))

    def _clean_start(self, text: str, *, maximum: int) -> str:
        if len(text) <= maximum:
            return self._clean_text(text)
        cleaned = self._clean_text(text[: maximum + _MARGIN])
        # masking shortens the text: a secret that is cut at the end of the margin must not become visible
        shown = cleaned[: max(0, min(maximum, len(cleaned) - _MARGIN))]
        return f"{shown} ... and {len(text) - maximum} characters more"

    def _clean_end(self, text: str) -> str:
        maximum = _MAX_TRACEBACK_CHARACTERS
        if len(text) <= maximum:
            return self._clean_text(text)
        cleaned = self._clean_text(text[-maximum - _MARGIN :])
        return (
            f"{len(text) - maximum} characters before ... {cleaned[max(_MARGIN, len(cleaned) - maximum) :]}"
        )

    def _clean_text(self, text: str) -> str:
        if self._secrets:
            text = self._secrets.sub(_MASK, text)
        text = _URL_PASSWORD.sub(rf"\1{_MASK}@", text)
        if not _SUSPECT.search(_OUR_IDS.sub("", text)):
            return text
        found = [finding for finding in maskable(text) if finding.kind.startswith(_MASKED_KINDS)]
        pieces, at = [], 0
        for start, end in _joined([(finding.start, finding.end) for finding in found]):
            pieces += [text[at:start], _MASK]
            at = end
        return "".join([*pieces, text[at:]])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined

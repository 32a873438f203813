"""Shapes every log line of a process, ours and the libraries': one form, the ids of the moment, no secret."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

import structlog

from orchestrator.safety.redaction import maskable
from orchestrator.settings import Settings
from orchestrator.settings_file import read_env_file

_CAPTURED = ("gunicorn.error", "gunicorn.access", "werkzeug", "celery", "celery.task", "celery.redirected")
# Celery's trace repeats a task's return value at INFO
_NOISY = ("kombu", "amqp", "alembic", "httpx", "celery.app.trace", "celery.worker.strategy")
_MASKED_KINDS = ("secret.", "pii.card", "pii.iban", "pii.email", "pii.ssn")
# ours, on every line: nothing of a client's can stand there
_OURS = frozenset({"level", "logger", "timestamp", "task_id", "step_id", "arm", "attempt", "round", "pid"})
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
# a scan costs 1 ms and more: it is for what could be a number, an address, a token, or the value of a secret
_SUSPECT = re.compile(
    r"@|\d(?:[ -]?\d){6}|[A-Za-z0-9_+-]{16}|passw|secret|token|key|bearer|credential|authoriz", re.IGNORECASE
)
_OUR_IDS = re.compile(
    r"\b(?:req|task|plan)_[0-9A-Za-z]{16}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_MAX_CHARACTERS = 1_000
# the end of a traceback says what was wrong
_MAX_TRACEBACK_CHARACTERS = 6_000
_TRACEBACKS = frozenset({"exception", "stack"})
# of all values of one line together
_MAX_LINE_CHARACTERS = 16_000
_MAX_ITEMS = 100
# looked at beyond a cut, so that a secret across it is still seen whole
_BEYOND = 256
_MASK: Final = "[redacted]"
# a shorter one would mask ordinary words
_SHORTEST_SECRET = 6
_MAX_DEPTH = 6

Event = MutableMapping[str, Any]


def configure(settings: Settings, *, service: str, stream: TextIO | None = None) -> None:
    """Send the whole process's log to `stream` (the real stderr); safe to call again, the last call wins.

    `service` names the process on every line (api, worker, sweeper, cli). LOG_FORMAT auto means console on a
    terminal, else one JSON object a line. Handlers that gunicorn and Celery made are taken away.
    """
    # Celery puts a proxy that logs in place of sys.stderr
    stream = stream or sys.__stderr__ or sys.stderr
    chain = _shared_processors(service, _secret_values(settings))
    structlog.configure(
        processors=[*chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
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
    """Put `values` (request_id, task_id, step_id ...) on every line logged inside, also by libraries."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def bind(**values: Any) -> None:
    """Put `values` on every following line of this thread, until `unbind`."""
    structlog.contextvars.bind_contextvars(**values)


def unbind() -> None:
    """Forget what `bind` put on this thread's lines."""
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
    """Return what must never be logged: the values of secret settings, and the passwords in their URLs."""
    values = [getattr(settings, field.name) for field in fields(settings) if field.metadata.get("secret")]
    texts = [value for value in values if isinstance(value, str)]
    passwords = [urlsplit(text).password or "" for text in texts if "://" in text]
    return tuple(text for text in (*texts, *passwords) if len(text) >= _SHORTEST_SECRET)


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


class _Room:
    """How many characters one line still has room for."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def take(self, most: int) -> int:
        """Return how many characters, at most `most`, a value may have, and keep them for it."""
        taken = min(most, self._left)
        self._left -= taken
        return taken


class Redactor:
    """A structlog processor: masks known secrets, and what orchestrator.safety finds secret or private."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if secrets else None

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        """Return the event with every string in it shortened and cleaned, at any depth."""
        room = _Room(_MAX_LINE_CHARACTERS)
        for key, value in event.items():
            if key in _TRACEBACKS and isinstance(value, str):
                event[key] = self._clean_end(value)
            elif key not in _OURS:
                event[key] = self._clean(value, room, depth=0)
        return event

    def _clean(self, value: Any, room: _Room, *, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            return {
                self._clean(str(key), room, depth=depth): self._clean(item, room, depth=depth + 1)
                for key, item in islice(value.items(), _MAX_ITEMS)
            }
        if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
            return [self._clean(item, room, depth=depth + 1) for item in islice(value, _MAX_ITEMS)]
        text = str(value)
        return self._clean_start(text, most=room.take(min(len(text), _MAX_CHARACTERS)))

    def _clean_start(self, text: str, *, most: int) -> str:
        if len(text) <= most:
            return self._clean_text(text)
        cleaned = self._clean_text(text[: most + _BEYOND])
        # masks shorten: what was cut in two at the far end must not move into sight
        shown = cleaned[: max(0, min(most, len(cleaned) - _BEYOND))]
        return f"{shown} ... and {len(text) - most} characters more"

    def _clean_end(self, text: str) -> str:
        most = _MAX_TRACEBACK_CHARACTERS
        if len(text) <= most:
            return self._clean_text(text)
        cleaned = self._clean_text(text[-most - _BEYOND :])
        return f"{len(text) - most} characters before ... {cleaned[max(_BEYOND, len(cleaned) - most) :]}"

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

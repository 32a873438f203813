"""Every log line, also a library's, is one JSON object with the current ids and without secrets."""

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from orchestrator.observability import log
from orchestrator.observability.log import Redactor
from orchestrator.settings import Settings, load

_SECRET = "kept-from-everyone-0123456789-abcdef"
_PASSWORD = "pg-passw0rd"


class Output(io.StringIO):
    """The lines that the process wrote, as objects."""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def _settings(home: Path, **given: str) -> Settings:
    return load(
        {
            "OCTOLLM_HOME": str(home),
            "DATABASE_URL": f"postgresql://octo:{_PASSWORD}@127.0.0.1:1/octollm",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "JWT_SECRET": _SECRET,
        }
        | given
    )


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Restore pytest's logging configuration."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    log.unbind()


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """A configured log that writes to memory."""
    written = Output()
    log.configure(_settings(tmp_path), service="worker", stream=written)
    return written


class Unread:
    """A value that must not be turned into text."""

    def __str__(self) -> str:
        raise AssertionError("a line below the level was formatted")


def test_a_line_below_the_level_is_not_formatted(tmp_path: Path) -> None:
    written = Output()
    log.configure(_settings(tmp_path, LOG_LEVEL="warning"), service="worker", stream=written)

    structlog.get_logger("ours").info("step.claimed", value=Unread())
    structlog.get_logger("ours").warning("step.lost")

    assert [line["event"] for line in written.lines()] == ["step.lost"]


def test_a_line_has_time_level_service_and_the_values_given(output: Output) -> None:
    structlog.get_logger("ours").info("step.claimed", attempt=2)

    (line,) = output.lines()
    assert line["event"] == "step.claimed"
    assert (line["level"], line["service"], line["logger"], line["attempt"]) == ("info", "worker", "ours", 2)
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_have_the_same_format(output: Output) -> None:
    logging.getLogger("celery.worker").warning("lost %s connections", 3, extra={"host": "h"})

    (line,) = output.lines()
    assert line["event"] == "lost 3 connections"
    assert (line["level"], line["host"], line["service"]) == ("warning", "h", "worker")


def test_bound_ids_are_on_every_line_within_the_block_only(output: Output) -> None:
    with log.bound(task_id="task_1", request_id="req_1"):
        structlog.get_logger().info("a")
        logging.getLogger("sqlalchemy").warning("b")
    structlog.get_logger().info("c")

    a, b, c = output.lines()
    assert a["task_id"] == b["task_id"] == "task_1"
    assert a["request_id"] == "req_1"
    assert "task_id" not in c


def test_handlers_of_gunicorn_and_celery_are_removed(tmp_path: Path) -> None:
    gunicorn, celery = logging.getLogger("gunicorn.error"), logging.getLogger("celery")
    for logger in (gunicorn, celery):
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    written = Output()

    log.configure(_settings(tmp_path), service="api", stream=written)
    gunicorn.warning("one")
    celery.warning("two")

    assert [line["event"] for line in written.lines()] == ["one", "two"]


def test_configuring_again_does_not_duplicate_lines(tmp_path: Path, output: Output) -> None:
    log.configure(_settings(tmp_path), service="worker", stream=output)

    structlog.get_logger().info("once")

    assert len(output.lines()) == 1


def test_secret_settings_are_masked_everywhere(output: Output) -> None:
    structlog.get_logger().info(
        "started", headers={"a": ["Bearer", f"x{_SECRET}x"]}, url=f"pg://u:{_PASSWORD}@h"
    )
    logging.getLogger("library").error("could not sign with %s", _SECRET)

    text = output.getvalue()
    assert _SECRET not in text
    assert _PASSWORD not in text
    assert text.count("[redacted]") == 3


def test_the_key_of_a_collector_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue%20whale, x-honeycomb=hcaik 01k2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20ZGVlcC1zZWE=")
    output = Output()
    log.configure(_settings(tmp_path), service="api", stream=output)

    structlog.get_logger().error("refused", by="blue whale", said="hcaik 01k2, Basic ZGVlcC1zZWE=")

    [line] = output.lines()
    assert (line["by"], line["said"]) == ("[redacted]", "[redacted], [redacted]")


def test_personal_data_and_foreign_secrets_are_masked(output: Output) -> None:
    try:
        raise ValueError("no user jane.roe@example.org")
    except ValueError:
        structlog.get_logger().exception("lookup.failed", card="4111 1111 1111 1111", at="10.0.0.7")
    structlog.get_logger().info("connecting", to="amqp://guest:hunter22@broker:5672")

    text = output.getvalue()
    assert "jane.roe@example.org" not in text
    assert "4111 1111 1111 1111" not in text
    assert "hunter22" not in text
    assert "10.0.0.7" in text
    assert "ValueError" in text


def test_a_deeply_nested_value_is_valid_json(output: Output) -> None:
    structlog.get_logger().info("odd", value={"path": Path("/a"), "set": {1}, "deep": [[[[[[["x"]]]]]]]})

    assert output.lines()[0]["value"]["path"] == "/a"


def test_a_terminal_gets_console_lines_unless_json_is_set(tmp_path: Path) -> None:
    automatic, forced = Terminal(), Terminal()

    log.configure(_settings(tmp_path), service="cli", stream=automatic)
    structlog.get_logger().info("hello")
    log.configure(_settings(tmp_path, LOG_FORMAT="json"), service="cli", stream=forced)
    structlog.get_logger().info("hello")

    assert not automatic.getvalue().startswith("{")
    assert json.loads(forced.getvalue())["event"] == "hello"


def test_lines_below_the_level_are_not_written(tmp_path: Path) -> None:
    written = Output()
    log.configure(_settings(tmp_path, LOG_LEVEL="warning"), service="api", stream=written)

    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("heard", pid=os.getpid())

    assert [line["event"] for line in written.lines()] == ["heard"]


def test_a_long_value_is_cut_before_the_scan_without_showing_a_secret_at_the_cut() -> None:
    card = "4111 1111 1111 1111"
    cut = 1_000
    events = [
        clean(header="x " * ((cut - gap) // 2) + card + " x" * 400_000)["header"] for gap in range(0, 40, 2)
    ]

    assert all(len(text) < cut + 60 and "4111" not in text for text in events)
    assert all(text.endswith("characters more") for text in events)


def test_no_part_of_a_cut_secret_becomes_visible_when_others_are_masked() -> None:
    card = "4111 1111 1111 1111"
    text = clean(header=f"{card}, " * 500)["header"]
    shown = clean(exception=f"{card}, " * 500)["exception"]

    assert "4111" not in text + shown
    assert "1111" not in text + shown


def test_a_long_traceback_keeps_its_end() -> None:
    shown = clean(exception="File x\n" * 5_000 + "KeyError: 'goal'")["exception"]

    assert shown.endswith("KeyError: 'goal'")
    assert len(shown) < 6_100


def test_the_length_of_a_line_is_limited() -> None:
    event = clean(many=["x" * 900] * 10_000, named={str(number): "y" * 900 for number in range(10_000)})

    assert len(json.dumps(event)) < 40_000


def clean(**values: Any) -> dict[str, Any]:
    return dict(Redactor(("hunter2hunter2",))(None, "", dict(values)))

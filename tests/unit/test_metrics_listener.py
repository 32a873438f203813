"""METRICS_LISTEN: a worker serves /metrics, to whoever knows the token, and no caller can hold it up."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.devserver.child_process import free_port
from orchestrator.models.errors import SettingsError
from orchestrator.observability.listener import MetricsListener
from tests.waiting import wait_until

TOKEN = "a token of at least sixteen"
_SERVE = """
import signal, sys
from orchestrator.observability import metric
from orchestrator.observability.listener import MetricsListener

metric.swept(sys.argv[2])
MetricsListener("127.0.0.1", int(sys.argv[1]), token=sys.argv[3] or None).start()
signal.pause()
"""


def _start(directory: Path, port: int, *, name: str = "first", token: str = "") -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    return subprocess.Popen([sys.executable, "-c", _SERVE, str(port), name, token], env=environ)


def _ask(port: int, path: str = "/metrics", *, token: str = "") -> tuple[int, str]:
    """Return the status and the text; 0 if nobody listens."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(30)


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a process with a token."""
    port = free_port()
    process = _start(tmp_path_factory.mktemp("metrics"), port, token=TOKEN)
    wait_until(lambda: _ask(port)[0], 60, "a process to serve metrics", every=0.1)
    yield port
    _end(process)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/metrics", TOKEN, 200),
        ("/metrics?name=all", TOKEN, 200),
        ("/metrics", "", 401),
        ("/metrics", TOKEN[:-1], 401),
        ("/", TOKEN, 404),
    ],
)
def test_metrics_need_the_token(protected: int, path: str, token: str, status: int) -> None:
    answered, text = _ask(protected, path, token=token)

    assert answered == status
    assert ('octollm_swept_total{kind="first"} 1.0' in text) == (status == 200)


@pytest.mark.parametrize(
    "call", [b"", b"GET ", b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, b"\0" * 9000]
)
def test_a_caller_that_sends_nothing_or_too_much_holds_nobody_up(protected: int, call: bytes) -> None:
    with socket.create_connection(("127.0.0.1", protected)) as held:
        held.sendall(call)

        assert _ask(protected, token=TOKEN)[0] == 200


def test_processes_with_one_address_take_turns_and_report_each_other(tmp_path: Path) -> None:
    port = free_port()
    first = _start(tmp_path, port)
    wait_until(lambda: _ask(port)[0] == 200, 60, "the first process to serve metrics", every=0.1)
    second = _start(tmp_path, port, name="second")
    wait_until(lambda: 'kind="second"' in _ask(port)[1], 60, "the second one to be reported", every=0.1)

    _end(first)

    wait_until(lambda: _ask(port)[0] == 200, 60, "the second one to take the address over", every=0.1)
    assert 'octollm_swept_total{kind="first"} 1.0' in _ask(port)[1]
    _end(second)


def test_an_address_of_another_machine_is_an_error_that_says_so() -> None:
    # RFC 5737: no machine has an address of this network
    with pytest.raises(
        SettingsError, match=r"METRICS_LISTEN is 192\.0\.2\.1:9464, where this process can't listen"
    ):
        MetricsListener("192.0.2.1", 9464, token=None).start()

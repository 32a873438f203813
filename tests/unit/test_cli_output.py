"""Output suits other encodings and closed pipes; a server that rejects a body early is understood."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from orchestrator.cli.client import ApiClient
from orchestrator.cli.exit_status import RequestRefused, ServerUnreachable
from orchestrator.cli.tasks import upload

SCRIPT = """
import sys
from orchestrator.cli import output
from orchestrator.cli.task_report import Decisions, print_report
output.prepare()
finding = {"criterion": sys.argv[1], "met": True, "checked_by": "rule"}
task = {"task_id": "task_1", "status": "completed"}
verdict = {"decision": "passed", "findings": [finding, {**finding, "met": False}]}
print_report(task, Decisions(verdict))
print(output.json_text({"told": sys.argv[1]}))
"""


@pytest.mark.parametrize(
    ("encoding", "marks", "told"),
    [
        ("utf-8", "✓✗", "naïve “日本”"),
        ("iso-8859-1", "+x", 'naïve "??"'),
        ("gbk", "+x", "na?ve “日本”"),
    ],
)
def test_no_encoding_of_stdout_causes_an_error(encoding: str, marks: str, told: str) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "naïve “日本”"], env=environ, capture_output=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, b"")
    shown, _, document = done.stdout.decode(encoding).partition("{")
    assert f"  {marks[0]} {told}" in shown
    assert f"  {marks[1]} {told}" in shown
    assert json.loads("{" + document) == {"told": "naïve “日本”"}


@pytest.mark.parametrize("arguments", [["--help"], ["keys", "permits"]])
def test_a_closed_pipe_ends_the_command_by_sigpipe(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)

    done = subprocess.run(
        [Path(sys.executable).with_name("octollm"), *arguments],
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=60,
        text=True,
    )
    os.close(write_end)

    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


@contextmanager
def _refusing(answer: bytes) -> Iterator[str]:
    """Serve one request: read its head, send `answer`, and close while the body is still coming."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            link, _ = listening.accept()
            with link:
                link.recv(1024)
                link.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_the_response_to_an_early_rejected_body_is_read(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 32 * 2**20)
    body = b'{"message": "the file is too large"}'
    head = b"HTTP/1.1 413 Too Large\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n"

    with (
        _refusing(head % len(body) + body) as url,
        pytest.raises(RequestRefused, match="the file is too large"),
    ):
        upload(ApiClient(url), tmp_path / "large.bin")


def test_a_server_that_closes_without_a_response_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 32 * 2**20)

    with _refusing(b"") as url, pytest.raises(ServerUnreachable, match="does not answer"):
        upload(ApiClient(url), tmp_path / "large.bin")

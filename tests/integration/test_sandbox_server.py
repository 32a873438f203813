"""A server in each kind of sandbox: reaches what it is given and nothing else, and ends with its worker."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.models.errors import SandboxUnavailable, ToolFailed
from tests.integration.sandbox_kit import SMALL, kinds_here, marked
from tests.waiting import wait_until
from workers.sandbox.backend import NO_ACCESS, Access, Isolation, ToolLimits
from workers.sandbox.selection import Sandbox
from workers.sandbox.server import SandboxedServer, ServerCommand

ROOT = Path(__file__).parents[2]
KINDS = sorted(kinds_here())
# answers each line with what the expression in it is
_ECHO = """
import os, socket, sys
from pathlib import Path
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@contextmanager
def serving(
    kind: str, access: Access = NO_ACCESS, *arguments: str, limits: ToolLimits = SMALL
) -> Iterator[SandboxedServer]:
    """Start a server that evaluates what it is sent."""
    command = ServerCommand(
        (sys.executable, "-I", "-c", _ECHO, *arguments), {"PATH": "/usr/bin:/bin"}, access
    )
    server = SandboxedServer(Sandbox(kinds_here()[kind], limits), command)
    try:
        yield server
    finally:
        server.end()


def ask(server: SandboxedServer, expression: str) -> str:
    """Return the answer of a server to one line."""
    os.write(server.stdin, f"{expression}\n".encode())
    assert select.select([server.stdout], [], [], 30)[0], server.last_words()
    return os.read(server.stdout, 65_536).decode().strip()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a file that only its owner may read."""
    place = tmp_path / "given"
    place.mkdir(mode=0o700)
    (place / "note").write_text("noted")
    (place / "note").chmod(0o600)
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_answers_until_it_is_ended_and_nothing_of_it_is_left(kind: str) -> None:
    mark = f"server-{os.urandom(8).hex()}"
    with serving(kind, NO_ACCESS, mark) as server:
        assert ask(server, "6 * 7") == "42"
        assert ask(server, "os.path.isdir(os.environ['HOME'])") == "True"
        server.check_usage()
        assert not server.has_ended()
        assert marked(mark)

    assert server.has_ended()
    assert marked(mark) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_reads_what_it_is_given_and_can_t_write_it(kind: str, place: Path) -> None:
    with serving(kind) as server:
        assert ask(server, f"Path('{place}/note').read_text()") != "noted"
    with serving(kind, Access(readable=(place,))) as server:
        assert ask(server, f"Path('{place}/note').read_text()") == "noted"
        assert ask(server, f"Path('{place}/new').write_text('x')") != "1"

    assert not (place / "new").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_writes_what_it_is_given_or_does_not_start(kind: str, place: Path) -> None:
    access = Access(writable=(place,))
    if kind == Isolation.BASIC and os.geteuid() == 0:
        with pytest.raises(SandboxUnavailable, match="ordinary user"), serving(kind, access):
            pass
        return
    with serving(kind, access) as server:
        assert ask(server, f"Path('{place}/new').write_text('x')") == "1"
        assert ask(server, f"Path('{place}/note').read_text()") == "noted"
        # it may write a file of this path, but only in its own scratch directory
        ask(server, f"Path('{place.parent}/beside').write_text('x')")

    assert (place / "new").stat().st_uid == os.geteuid()
    assert not (place.parent / "beside").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_server_with_network_can_connect(kind: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect = f"socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 5).getpeername()[0]"
        with serving(kind) as server:
            assert ask(server, connect) != "127.0.0.1"
        with serving(kind, Access(network=True)) as server:
            assert ask(server, connect) == "127.0.0.1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_takes_too_much_memory_is_noticed(kind: str) -> None:
    limits = ToolLimits(memory_bytes=1024**3, tree_memory_bytes=32 * 1024**2)
    with serving(kind, limits=limits) as server:
        server.check_usage()
        assert ask(server, "globals().setdefault('kept', b'x' * 64 * 1024**2)[:1]") == "b'x'"

        with pytest.raises(ToolFailed, match="memory"):
            server.check_usage()


@pytest.mark.parametrize("kind", KINDS)
def test_no_server_outlives_a_worker_that_is_killed(kind: str) -> None:
    mark = f"server-{os.urandom(8).hex()}"
    program = (
        "import sys, time\n"
        "from tests.integration.test_sandbox_server import NO_ACCESS, ask, serving\n"
        "with serving(sys.argv[1], NO_ACCESS, sys.argv[2]) as server:\n"
        "    print(ask(server, '1'), flush=True)\n"
        "    time.sleep(3600)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, kind, mark], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout.readline() == "1\n"
        assert len(marked(mark)) > 1
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()

    wait_until(lambda: marked(mark) == [], 30, "the end of the server")

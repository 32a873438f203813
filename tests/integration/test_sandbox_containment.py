"""Attacks on every kind of sandbox here: each succeeds without a sandbox, and fails in one."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.models.errors import StepError, ToolFailed, ToolTimeout
from tests.integration import attacks
from tests.integration.sandbox_kit import BROKE_OUT, SMALL, end, guarded, kinds_here, marked, unguarded
from tests.waiting import wait_until
from workers.sandbox.backend import Backend
from workers.sandbox.run import run

KINDS = kinds_here()
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Backend:
    """Each kind of sandbox of this machine."""
    return KINDS[request.param]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A directory of inputs with one file."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "input.txt").write_text("input")
    return place


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_continuous_integration_tests_both_kinds() -> None:
    wanted = {"strong", "basic"} if os.environ.get("CI") else set()

    assert KINDS.keys() >= wanted, (
        "install bubblewrap (apt-get install bubblewrap), and use Linux with Landlock"
    )
    assert KINDS or sys.platform != "linux"


def test_a_tool_reads_its_inputs_and_writes_its_scratch(kind: Backend, inputs: Path) -> None:
    program = (
        "import os, sys; open(sys.argv[1] + '/out', 'w').write(open('input.txt').read()); "
        "print(open(sys.argv[1] + '/out').read(), os.getuid() != 0)"
    )

    finished = guarded(kind, program, "SCRATCH", inputs=inputs)

    assert (finished.exit_code, finished.stdout) == (0, b"input True\n"), finished.stderr


def test_ordinary_work_of_packages_is_allowed(kind: Backend, inputs: Path) -> None:
    program = Path(__file__).with_name("ordinary_work.py").read_text()
    limits = replace(SMALL, memory_bytes=2**30, scratch_bytes=2**28, file_bytes=2**26)
    # no sockets, no terminals, and no /dev/shm for semaphores
    refused = (
        "" if kind.facts(limits)["network"] == "its own, empty" else "terminals\nprocess_pools\nweb_servers\n"
    )

    finished = guarded(kind, program, "SCRATCH", inputs=inputs, limits=limits)

    assert finished.stdout.decode() == refused, finished.stderr.decode()


def test_files_of_the_machine_can_not_be_read(kind: Backend, inputs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(attacks.SECRET)
    secret.chmod(0o644)

    for path in (str(secret), "/etc/passwd", f"/proc/{os.getpid()}/cmdline"):
        assert BROKE_OUT in unguarded(attacks.READ_FILE, path, inputs=inputs)
        assert BROKE_OUT not in guarded(kind, attacks.READ_FILE, path, inputs=inputs).stdout


def test_nothing_but_scratch_can_be_written(kind: Backend, inputs: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)

    assert BROKE_OUT in unguarded(attacks.WRITE_FILE, str(open_to_all / "x"), inputs=inputs)
    assert BROKE_OUT not in guarded(kind, attacks.WRITE_FILE, str(open_to_all / "x"), inputs=inputs).stdout
    assert BROKE_OUT in unguarded(attacks.FILL_ELSEWHERE, inputs=inputs)
    assert BROKE_OUT not in guarded(kind, attacks.FILL_ELSEWHERE, inputs=inputs).stdout


def test_the_worker_s_environment_can_not_be_read(inputs: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from tests.integration import attacks
from tests.integration.sandbox_kit import guarded, kinds_here, unguarded
inputs, worker = Path(sys.argv[1]), str(os.getpid())
print(b"broke out" in unguarded(attacks.READ_ENVIRONMENTS, worker, inputs=inputs))
for kind in kinds_here().values():
    finished = guarded(kind, attacks.READ_ENVIRONMENTS, worker, inputs=inputs)
    print(finished.exit_code, finished.stdout)
"""
    worker = subprocess.run(
        [sys.executable, "-c", program, str(inputs)],
        cwd=ROOT,
        env={**os.environ, "JWT_SECRET": attacks.SECRET},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert worker.stdout.splitlines() == ["True", *(["0 b''"] * len(KINDS))], worker.stderr


def test_no_network_can_be_reached(kind: Backend, inputs: Path, port: int, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        Path(path).chmod(0o777)

        for attack, address in ((attacks.CONNECT, str(port)), (attacks.CONNECT_UNIX, path)):
            assert BROKE_OUT in unguarded(attack, address, inputs=inputs)
            assert BROKE_OUT not in guarded(kind, attack, address, inputs=inputs).stdout


@pytest.mark.parametrize("attack", [attacks.SIGNAL, attacks.TRACE])
def test_the_worker_can_not_be_attacked(kind: Backend, inputs: Path, attack: str) -> None:
    with subprocess.Popen(["sleep", "30"]) as victim:
        try:
            assert BROKE_OUT in unguarded(attack, str(victim.pid), inputs=inputs)
            assert BROKE_OUT not in guarded(kind, attack, str(victim.pid), inputs=inputs).stdout
        finally:
            victim.kill()


def test_file_events_can_not_be_watched(kind: Backend, inputs: Path) -> None:
    assert BROKE_OUT in unguarded(attacks.WATCH, tempfile.gettempdir(), inputs=inputs)
    for place in (tempfile.gettempdir(), "/usr", str(inputs)):
        assert BROKE_OUT not in guarded(kind, attacks.WATCH, place, inputs=inputs).stdout


def test_no_namespace_can_be_made_inside(kind: Backend, inputs: Path) -> None:
    finished = guarded(kind, attacks.MAKE_NAMESPACE, inputs=inputs)

    assert (finished.exit_code, finished.stdout) == (0, b"")


def test_a_fork_bomb_is_stopped_and_leaves_nothing(kind: Backend, inputs: Path) -> None:
    mark = uuid.uuid4().hex

    plain = unguarded(attacks.FORK, "60", inputs=inputs)
    if kind.facts(SMALL)["processes"]["how"] == "kernel":
        word, made = guarded(kind, attacks.FORK, "60", mark, inputs=inputs).stdout.decode().split()
        assert word == "stopped"
        assert 0 < int(made) <= SMALL.processes
    else:
        # the kernel stops it; when other processes of the user end meanwhile, the watch does
        with suppress(ToolFailed):
            assert BROKE_OUT not in guarded(kind, attacks.FORK, "60", mark, inputs=inputs).stdout

    assert BROKE_OUT in plain
    assert marked(mark) == []


def test_sandboxes_do_not_share_a_process_limit(kind: Backend, tmp_path: Path) -> None:
    made: list[str] = []

    def fork(number: int) -> None:
        place = tmp_path / str(number)
        place.mkdir()
        made.append(guarded(kind, attacks.FORK, "15", inputs=place).stdout.decode())

    threads = [threading.Thread(target=fork, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    if kind.facts(SMALL)["processes"]["how"] == "kernel":
        assert made == ["broke out 15\n"] * 3


def test_memory_of_one_process_is_bounded(kind: Backend, inputs: Path) -> None:
    size = str(SMALL.memory_bytes)

    assert BROKE_OUT in unguarded(attacks.ALLOCATE, size, inputs=inputs)
    finished = guarded(kind, attacks.ALLOCATE, size, inputs=inputs)

    assert b"MemoryError" in finished.stderr
    assert BROKE_OUT not in finished.stdout


def test_memory_of_all_processes_together_is_bounded(kind: Backend, inputs: Path) -> None:
    each = str(SMALL.tree_memory_bytes // 2)

    assert BROKE_OUT in unguarded(attacks.ALLOCATE_IN_MANY, each, inputs=inputs)
    with pytest.raises(ToolFailed, match="bytes of memory"):
        guarded(kind, attacks.ALLOCATE_IN_MANY, each, inputs=inputs)


@pytest.mark.slow
def test_memory_of_children_of_threads_is_bounded(kind: Backend, inputs: Path) -> None:
    each = str(SMALL.tree_memory_bytes // 2)
    # a thread reserves much more address space than it uses
    limits = replace(SMALL, memory_bytes=4 * SMALL.memory_bytes)

    assert BROKE_OUT in unguarded(attacks.ALLOCATE_IN_CHILDREN_OF_THREADS, each, inputs=inputs)
    with pytest.raises(ToolFailed, match="bytes of memory"):
        guarded(kind, attacks.ALLOCATE_IN_CHILDREN_OF_THREADS, each, inputs=inputs, limits=limits)


@pytest.mark.parametrize(
    "attack", [attacks.SHARE_MEMORY, attacks.HIDE_SHARED_MEMORY], ids=["plain", "unmapped"]
)
def test_shared_memory_is_bounded(kind: Backend, inputs: Path, attack: str) -> None:
    """2,700 MiB with a limit of 1 GiB, both divided by eight."""
    mebibytes = str(2_700 // 8)

    assert BROKE_OUT in unguarded(attack, mebibytes, inputs=inputs)
    finished = guarded(kind, attack, mebibytes, inputs=inputs)

    assert BROKE_OUT not in finished.stdout
    assert finished.exit_code == 0 or b"refused" in finished.stderr


def test_memory_that_processes_share_counts_once(kind: Backend, inputs: Path) -> None:
    size = str(SMALL.tree_memory_bytes // 2)
    program = """
import os, sys, time
block = bytearray(os.urandom(4096) * (int(sys.argv[1]) // 4096))
for _ in range(4):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
print([os.wait()[1] for _ in range(4)])
"""

    assert guarded(kind, program, size, inputs=inputs).stdout == b"[0, 0, 0, 0]\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["open", "mapped", "sent"])
def test_deleted_files_are_bounded(kind: Backend, inputs: Path, how: str) -> None:
    files = str(4 * SMALL.scratch_bytes // 2**20)
    in_memory = kind.facts(SMALL)["scratch_bytes"]["how"] == "tmpfs"

    assert BROKE_OUT in unguarded(attacks.KEEP_DELETED, "SCRATCH", files, how, inputs=inputs)
    if in_memory or how == "sent":
        finished = guarded(kind, attacks.KEEP_DELETED, "SCRATCH", files, how, inputs=inputs)
        assert (b"No space left" if in_memory else b"Operation not permitted") in finished.stderr
    else:
        with pytest.raises(ToolFailed, match="bytes of files"):
            guarded(kind, attacks.KEEP_DELETED, "SCRATCH", files, how, inputs=inputs)


@pytest.mark.slow
def test_deleted_files_of_a_program_that_hides_are_bounded(inputs: Path) -> None:
    size = Path(sys.executable).resolve().stat().st_size
    limits = replace(SMALL, file_bytes=size + 2**20, scratch_bytes=size + 4 * 2**20)
    arguments = ("SCRATCH", attacks.KEEP_DELETED, "16", "open")
    sampled = [kind for kind in KINDS.values() if kind.facts(limits)["scratch_bytes"]["how"] == "sampled"]

    assert BROKE_OUT in unguarded(attacks.HIDE_OPEN_FILES, *arguments, inputs=inputs)
    for kind in sampled:
        with pytest.raises(ToolFailed, match="bytes of files"):
            guarded(kind, attacks.HIDE_OPEN_FILES, *arguments, inputs=inputs, limits=limits)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user never has the capability")
def test_deleted_files_are_counted_by_a_root_that_may_not_trace(inputs: Path) -> None:
    """As in a container: its root lacks CAP_SYS_PTRACE."""
    program = """
import sys
from pathlib import Path
from tests.integration import attacks
from tests.integration.sandbox_kit import guarded, kinds_here
for kind in kinds_here().values():
    print(guarded(kind, "import time; time.sleep(0.6); print('ends')", inputs=Path(sys.argv[1])).stdout)
    try:
        print(guarded(kind, attacks.KEEP_DELETED, "SCRATCH", "16", "open", inputs=Path(sys.argv[1])).stdout)
    except Exception as error:
        print(error)
"""
    drop = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]

    tried = subprocess.run(
        [*drop, sys.executable, "-c", program, str(inputs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    stopped = {
        "strong": "b''",
        "basic": f"the tool wrote more than {SMALL.scratch_bytes} bytes of files, or too many",
    }
    expected = [line for level in KINDS for line in (r"b'ends\n'", stopped[level])]
    assert tried.stdout.splitlines() == expected, tried.stderr


@pytest.mark.slow
def test_files_in_memory_count_as_memory(inputs: Path) -> None:
    limits = replace(SMALL, scratch_bytes=2 * SMALL.tree_memory_bytes)
    files = str(3 * SMALL.tree_memory_bytes // 2 // 2**20)
    strong = [kind for kind in KINDS.values() if kind.facts(limits)["scratch_bytes"]["how"] == "tmpfs"]

    for kind in strong:
        with pytest.raises(ToolFailed, match="bytes of memory"):
            guarded(kind, attacks.KEEP_DELETED, "SCRATCH", files, "open", inputs=inputs, limits=limits)


@pytest.mark.parametrize("attack", [attacks.FILL, attacks.FILL_OUT_OF_SIGHT], ids=["plain", "out of sight"])
def test_the_scratch_directory_is_bounded(kind: Backend, inputs: Path, attack: str) -> None:
    files = str(4 * SMALL.scratch_bytes // 2**20)

    assert BROKE_OUT in unguarded(attack, "SCRATCH", files, inputs=inputs)
    if kind.facts(SMALL)["scratch_bytes"]["how"] == "tmpfs":
        finished = guarded(kind, attack, "SCRATCH", files, inputs=inputs)
        assert b"No space left on device" in finished.stderr
    else:
        with pytest.raises(ToolFailed, match="bytes of files"):
            guarded(kind, attack, "SCRATCH", files, inputs=inputs)


def test_a_file_is_bounded(kind: Backend, inputs: Path) -> None:
    size = str(2 * SMALL.file_bytes // 2**20)

    assert BROKE_OUT in unguarded(attacks.LARGE_FILE, "SCRATCH", size, inputs=inputs)
    assert BROKE_OUT not in guarded(kind, attacks.LARGE_FILE, "SCRATCH", size, inputs=inputs).stdout


def test_a_flood_of_output_ends_the_tool(kind: Backend, inputs: Path) -> None:
    assert len(unguarded(attacks.FLOOD, inputs=inputs)) == 64 * 2**20
    with pytest.raises(ToolFailed, match="more output"):
        guarded(kind, attacks.FLOOD, inputs=inputs)


@pytest.mark.slow
def test_wall_time_and_processor_time_are_bounded(kind: Backend, inputs: Path) -> None:
    with pytest.raises(ToolTimeout):
        guarded(kind, "import time; time.sleep(20)", inputs=inputs, limits=replace(SMALL, wall_seconds=0.5))
    finished = guarded(kind, attacks.BURN, inputs=inputs, limits=replace(SMALL, cpu_seconds=1))

    assert finished.exit_code == 128 + 9
    assert finished.seconds < 10


def test_a_daemon_ends_with_its_tool(kind: Backend, inputs: Path) -> None:
    plain, inside = uuid.uuid4().hex, uuid.uuid4().hex

    unguarded(attacks.DAEMON, plain, "0.3", inputs=inputs)
    survivors = marked(plain)
    end(survivors)
    finished = guarded(kind, attacks.DAEMON, inside, "0.3", inputs=inputs)

    assert len(survivors) == 1
    assert finished.exit_code == 0
    assert marked(inside) == []


def test_all_processes_of_a_tool_end_with_its_step(kind: Backend, inputs: Path) -> None:
    mark, calls = uuid.uuid4().hex, []

    class Cancelled(StepError):
        """Ends the step."""

    def checkpoint() -> None:
        calls.append(len(marked(mark)))
        if calls[-1] >= 2:
            raise Cancelled

    argv = [sys.executable, "-I", "-c", attacks.DAEMON, mark, "10"]
    with kind.cell(inputs, SMALL) as cell, pytest.raises(Cancelled):
        run(cell, argv, environment={}, limits=SMALL, checkpoint=checkpoint)

    wait_until(lambda: not marked(mark), timeout=2, what="the daemon to be gone")

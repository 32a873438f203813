"""Run as a script in a sandbox: does what packages and their tests ordinarily do, and prints what fails."""

import asyncio
import concurrent.futures
import fcntl
import glob
import http.client
import http.server
import mmap
import multiprocessing
import os
import pty
import resource
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time


def written(name: str = "f") -> str:
    with open(name, "wb") as file:
        file.write(b"x" * 5_000)
        file.flush()
        os.fsync(file.fileno())
    return name


def files() -> None:
    written()
    os.makedirs("d/e", exist_ok=True)
    shutil.copy2("f", "d/f")
    shutil.copytree("d", "g")
    shutil.move("g", "h")
    os.link("f", "l")
    os.symlink("f", "s")
    os.chmod("f", 0o600)
    os.utime("f")
    os.rename("l", "m")
    os.mkfifo("p")
    os.statvfs(".")
    os.listxattr("f")
    glob.glob("**", recursive=True)
    shutil.rmtree("h")
    descriptor = os.open("f", os.O_RDWR)
    os.posix_fallocate(descriptor, 0, 8_192)
    os.ftruncate(descriptor, 10)
    copy = os.open("copy", os.O_RDWR | os.O_CREAT)
    os.copy_file_range(descriptor, copy, 5)
    os.sendfile(copy, descriptor, 0, 5)
    with tempfile.TemporaryFile() as file:
        file.write(b"x")


def mapped_files() -> None:
    with open(written(), "r+b") as file, mmap.mmap(file.fileno(), 0) as there:
        there[0] = 65
        there.flush()


def locks() -> None:
    with open(written(), "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)


def threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def processes() -> None:
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout == b"1\n"
    assert subprocess.check_output("echo a | cat", shell=True) == b"a\n"
    subprocess.run(["true"], start_new_session=True, check=True)
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitpid(pid, 0)[1] == 0
    ours, theirs = multiprocessing.Pipe()
    ours.send(1)
    assert theirs.recv() == 1


def signals() -> None:
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.sigtimedwait([signal.SIGUSR1], 0.1)
    assert seen
    with subprocess.Popen(["sleep", "9"]) as child:
        child.terminate()
    assert child.returncode == -signal.SIGTERM


def loops() -> None:
    async def both() -> int | None:
        process = await asyncio.create_subprocess_exec("true")
        await asyncio.gather(asyncio.sleep(0.01), asyncio.to_thread(time.sleep, 0.01))
        return await process.wait()

    assert asyncio.run(both()) == 0
    select.epoll().close()
    select.poll().poll(0)
    ours, theirs = socket.socketpair()
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"


def databases() -> None:
    for mode in ("DELETE", "WAL"):
        with sqlite3.connect(mode) as database:
            database.execute(f"PRAGMA journal_mode={mode}")
            database.execute("CREATE TABLE t (a)")


def oneself() -> None:
    os.sched_getaffinity(0)
    os.getpriority(os.PRIO_PROCESS, 0)
    os.nice(0)
    os.getgroups()
    os.getloadavg()
    os.pidfd_open(os.getpid())
    resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def terminals() -> None:
    pid, _ = pty.fork()
    if pid == 0:
        os._exit(0 if os.isatty(0) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def process_pools() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1]) == [1]


def web_servers() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.handle_request).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200


def main(place: str) -> None:
    os.chdir(place)
    works = (files, mapped_files, locks, threads, processes, signals, loops, databases, oneself)
    for work in (*works, terminals, process_pools, web_servers):
        try:
            work()
        except (OSError, AssertionError) as error:
            print(work.__name__, repr(error), file=sys.stderr)
            print(work.__name__)


if __name__ == "__main__":
    main(sys.argv[1])

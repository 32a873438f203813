"""Everything `octollm up` runs on one machine: servers, migration, API, workers, sweeper, Flower."""

import contextlib
import fcntl
import http.client
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator import settings
from orchestrator.devserver import child_process, key_ring, servers
from orchestrator.devserver.child_reaper import Leash
from orchestrator.devserver.home import LOCK_FILE
from orchestrator.devserver.program import Program, environment, read_procfile
from orchestrator.memory import migrate
from orchestrator.models import signing_key
from orchestrator.models.errors import OctoError, SettingsError
from orchestrator.models.model_choice import ModelName
from orchestrator.process.loop import Loop, Pace
from orchestrator.process.process_kind import environment_of
from orchestrator.settings_file import STACK_FILE

ONE_OF_EACH: Mapping[str, int] = {
    "planner": 1,
    "retriever": 1,
    "coder": 1,
    "executor": 1,
    "guardian": 1,
    "judge": 1,
    "webhook": 1,
    "sweeper": 1,
    "web": 1,
}
READY_SECONDS = 120.0
# a worker gives its running steps GRACE_SECONDS, 30 by default
STOP_SECONDS = 35.0
# a planner that asks a model waits most of the time
_PLANNER_THREADS_WITH_MODEL = 8
_FRONT = ("web", "flower")
_POLL_SECONDS = 0.05
_PROGRESS_SECONDS = 3.0
_LONGEST_TEND_SECONDS = 30.0
_HOPELESS_STARTS = 3


class StackError(OctoError):
    """The stack did not become ready."""

    code = "stack_not_ready"
    retryable = True


def _silent(_line: str) -> None:
    """Say nothing."""


class Stack:
    """A whole OctoLLM on this machine. A context manager: inside it is ready, afterwards nothing is left.

    `port` 0 takes a free one. `environ` covers our environment for every process. `processes` is how many of
    each of the Procfile's lines to run. `say` gets lines for the person who watches. One stack a `home`.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 8000,
        environ: Mapping[str, str] | None = None,
        processes: Mapping[str, int] = ONE_OF_EACH,
        durable: bool = True,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.home = home.resolve()
        self.port = port
        self.environ: dict[str, str] = {}
        self._wanted = environment(environ or {})
        self._counts = processes
        self._durable = durable
        self._say = say
        self._logins: dict[str, str] = {}
        self._models: Sequence[ModelName] = ()
        self._programs: list[Program] = []
        self._ending = ExitStack()
        # a count, not an Event: a handler that interrupts Event.set in another handler deadlocks
        self._interrupts = 0

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """The database that all processes use."""
        return self.environ["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """The broker and cache that all processes use."""
        return self.environ["REDIS_URL"]

    def pids(self, kind: str = "") -> list[int]:
        """Return the ids of the processes that run: of one line of the Procfile, or all."""
        wanted = [program for program in self._programs if kind in {"", program.name.partition(".")[0]}]
        return [pid for program in wanted if (pid := program.pid) is not None]

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises SettingsError or StackError, nothing left."""
        try:
            self._prepare()
            self._launch()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, newest first; workers get 35 s to finish their steps. Safe to call twice."""
        self._ending.close()

    def run(self, ready: Callable[[str], None]) -> None:
        """Start, call `ready` with the URL, and stay until SIGINT, SIGTERM or SIGHUP; a second one hurries.

        Only for the main thread. Raises as `start` does.
        """
        with _signals(self._on_signal):
            try:
                self.start()
                if not self._interrupts:
                    ready(self.url)
                while not self._interrupts:
                    time.sleep(_POLL_SECONDS)
            finally:
                if self._interrupts:
                    self._say(
                        f"stopping: running steps get {STOP_SECONDS:g} s to finish; Ctrl-C again hurries"
                    )
                self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _on_signal(self, *_: object) -> None:
        self._interrupts += 1

    def _prepare(self) -> None:
        """Bring up the servers, migrate, and write down what was chosen."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        if self.port == 0:
            self.port = child_process.free_port()
        elif not child_process.is_free(self.port):
            raise SettingsError(f"port {self.port} is taken: choose another one with --port")
        running = servers.start(self.home, durable=self._durable, environ=self._wanted)
        self._ending.callback(running.stop)
        for line in running.origins:
            self._say(line)
        permit_key = key_ring.permit_key(self.home, self._wanted)
        chosen = {
            "DATABASE_URL": running.database_url,
            "REDIS_URL": running.redis_url,
            **key_ring.choose(self.home, self._wanted),
            "PERMIT_PUBLIC_KEY": signing_key.public_key_of(permit_key),
            "OCTOLLM_URL": self.url,
        }
        self._write_down(chosen)
        self.environ = self._wanted | chosen | self._places()
        checked = settings.load(self.environ)
        self._models = checked.models
        self.environ["PERMIT_PRIVATE_KEY"] = permit_key
        if not self.environ.get("PLANNER_THREADS") and (checked.openai_api_key or checked.anthropic_api_key):
            self.environ["PLANNER_THREADS"] = str(_PLANNER_THREADS_WITH_MODEL)
        standing = migrate.upgrade(running.database_url)
        if standing and standing.fault:
            self._say(f"warning: {standing.fault}: {standing.advice}")
        if not self._wanted.get("DATABASE_URL"):
            self._logins = migrate.make_logins(running.database_url)

    def _lock(self) -> None:
        """Hold the home for as long as this process lives: the kernel frees the lock of a dead one."""
        lock = self._ending.enter_context((self.home / LOCK_FILE).open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SettingsError(
                f"another `octollm up` (process {lock.read().strip()}) runs in {self.home}: stop it, "
                "or set OCTOLLM_HOME to another directory"
            ) from None
        self._ending.callback(lock.truncate, 0)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

    def _environ_of(self, kind: str) -> dict[str, str]:
        """Return the environment of one kind of process: what it may know, and a login of its own."""
        own = {"DATABASE_URL": self._logins[kind]} if kind in self._logins else {}
        return environment_of(kind, self.environ, models=self._models) | own

    def _write_down(self, chosen: Mapping[str, str]) -> None:
        path = self.home / STACK_FILE
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))

    def _places(self) -> dict[str, str]:
        """Return where processes put things; metrics begin at zero with each start."""
        metrics = self.home / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir()
        return {
            "OCTOLLM_HOME": str(self.home),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "BIND_HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WORKER_FLAGS": self._wanted.get("WORKER_FLAGS") or ("-E" if "flower" in self._counts else ""),
        }

    def _launch(self) -> None:
        """Start every process, then watch over them in a thread."""
        commands = read_procfile()
        leash = Leash()
        self._ending.callback(leash.release)
        for kind, count in self._counts.items():
            for number in range(1, count + 1):
                name = f"{kind}.{number}"
                log = self.home / "log" / f"{name}.log"
                log.unlink(missing_ok=True)
                self._programs.append(
                    Program(name, commands[kind], environ=self._environ_of(kind), log=log, leash=leash)
                )
        self._ending.callback(self._programs.clear)
        self._ending.callback(self._end_programs)
        for program in self._programs:
            program.start()
        watcher = Loop("stack-watcher", self._watch, pace=Pace(_POLL_SECONDS))
        watcher.start()
        self._ending.callback(watcher.stop, wait_seconds=_LONGEST_TEND_SECONDS)

    def _watch(self) -> None:
        for program in self._programs:
            if told := program.tend():
                self._say(told)

    def _wait_until_ready(self) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while not self._interrupts:
            status, body = self._ask_ready()
            if status == http.HTTPStatus.OK:
                return
            self._refuse_a_broken_program()
            if time.monotonic() >= give_up:
                raise StackError(
                    f"not ready after {READY_SECONDS:g} s; GET /ready says: {body or 'nothing'}; "
                    f"the logs are in {self.home / 'log'}"
                )
            time.sleep(_POLL_SECONDS)

    def _refuse_a_broken_program(self) -> None:
        """Give up early on a start that can't succeed: a wrong setting, a program that can't be imported."""
        for program in self._programs:
            if program.early_deaths >= _HOPELESS_STARTS:
                raise StackError(
                    f"{program.name} died {program.early_deaths} times; {program.log} ends with:\n"
                    f"{child_process.tail(program.log)}"
                )

    def _ask_ready(self) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            link.request("GET", "/ready")
            answer = link.getresponse()
            return answer.status, answer.read(4096).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            link.close()

    def _end_programs(self) -> None:
        """End what faces clients first, then the workers, together; what does not end in time is killed."""
        front = [program for program in self._programs if program.name.partition(".")[0] in _FRONT]
        behind = [program for program in reversed(self._programs) if program not in front]
        give_up = time.monotonic() + STOP_SECONDS
        for batch in (front, behind):
            for program in batch:
                program.ask_to_stop()
            self._wait_for_the_end(batch, give_up)
            for program in batch:
                program.kill()

    def _wait_for_the_end(self, batch: Sequence[Program], give_up: float) -> None:
        """Wait until all have ended, the time is up, or somebody is in a hurry; say now and then for whom."""
        say_again_at = time.monotonic() + _PROGRESS_SECONDS
        while left := [program.name for program in batch if not program.is_stopped()]:
            now = time.monotonic()
            if self._interrupts > 1 or now >= give_up:
                return
            if now >= say_again_at:
                self._say(f"waiting for {', '.join(sorted(left))}: {give_up - now:.0f} s at most")
                say_again_at = now + _PROGRESS_SECONDS
            time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def _signals(handler: Callable[..., None]) -> Iterator[None]:
    """Handle SIGINT, SIGTERM and SIGHUP with `handler` inside the block."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)

"""Runs all of OctoLLM on one machine, for `octollm up`: servers, migration, API, workers, sweeper, Flower."""

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

from sqlalchemy.exc import SQLAlchemyError

from orchestrator import settings
from orchestrator.chord.database import open_engine, statement
from orchestrator.devserver import child_process, servers
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.environment import choose_secrets, environment, permit_key
from orchestrator.devserver.service import Service, read_procfile
from orchestrator.devserver.state_directory import LOCK_FILE
from orchestrator.memory import migrate, pools
from orchestrator.models import signing_key
from orchestrator.models.arm_capability import ARMS, REMOTE, ArmCapability
from orchestrator.models.errors import OctoError, SettingsError
from orchestrator.models.model_choice import ModelName
from orchestrator.process.loop import Loop, Pace
from orchestrator.process.process_kind import environment_of
from orchestrator.registry.manifest import PLUG_INS
from orchestrator.settings_file import STACK_FILE


def _service_of(arm: ArmCapability) -> str:
    return arm.arm_id if arm.process == PLUG_INS else arm.process


# lines of the Procfile, and the arms of plug-ins: each has a process of its own, by the line `arms`
ONE_OF_EACH: Mapping[str, int] = dict.fromkeys(
    (*(_service_of(arm) for arm in ARMS.values() if arm.has_workers), REMOTE, "webhook", "sweeper", "web"), 1
)
READY_SECONDS = 120.0
# longer than GRACE_SECONDS (30 by default), which workers give their running steps
STOP_SECONDS = 35.0
_FRONT = ("web", "flower")
_POLL_SECONDS = 0.05
_START_POLL_SECONDS = 0.02
# longer than an API process caches its last check (api.routes.readiness, 1 s)
_AGREEMENT_SECONDS = 1.05
_PROGRESS_SECONDS = 3.0
_LONGEST_RESTART_SECONDS = 30.0
_MAX_FAILED_STARTS = 3


class StackError(OctoError):
    """The stack did not become ready."""

    code = "stack_not_ready"
    retryable = True


def _is_plug_in(kind: str) -> bool:
    return kind in ARMS and ARMS[kind].process == PLUG_INS


def _say_nothing(_line: str) -> None:
    """Ignore a progress line."""


class Stack:
    """A whole OctoLLM on this machine. A context manager: ready inside the block, nothing runs after it.

    `port` 0 chooses a free one. `environ` overrides our environment for every process. `processes` is the number of
    processes for each line of the Procfile and each plug-in's arm. `say` receives progress lines for the user. One
    stack per `home`.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 8000,
        environ: Mapping[str, str] | None = None,
        processes: Mapping[str, int] = ONE_OF_EACH,
        durable: bool = True,
        say: Callable[[str], None] = _say_nothing,
    ) -> None:
        self.home = home.resolve()
        self.port = port
        self.environ: dict[str, str] = {}
        self._wanted = settings.read_files(environment(environ or {}))
        self._counts = processes
        self._durable = durable
        self._say = say
        self._logins: dict[str, str] = {}
        self._models: Sequence[ModelName] = ()
        self._services: list[Service] = []
        self._ending = ExitStack()
        # a counter, not an Event: a signal handler that interrupts Event.set in another one deadlocks
        self._interrupts = 0

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """The database of all processes."""
        return self.environ["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """The broker and cache of all processes."""
        return self.environ["REDIS_URL"]

    def pids(self, kind: str = "") -> list[int]:
        """Return the ids of the running processes: of one line of the Procfile or one plug-in's arm, or of all."""
        wanted = [service for service in self._services if kind in {"", service.name.partition(".")[0]}]
        return [pid for service in wanted if (pid := service.pid) is not None]

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises SettingsError or StackError; nothing runs then."""
        try:
            self._prepare()
            self._launch()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, newest first; processes get STOP_SECONDS to end. Safe to call twice."""
        self._ending.close()

    def run(self, ready: Callable[[str], None]) -> None:
        """Start, call `ready` with the URL, and run until SIGINT, SIGTERM or SIGHUP; a second one kills at once.

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
                        f"stopping: running steps get {STOP_SECONDS:g} s to finish; press Ctrl-C again to stop at once"
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
        """Start the servers, choose secrets, write the stack file, migrate."""
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
        permit_private_key = permit_key(self.home, self._wanted)
        chosen = {
            "DATABASE_URL": running.database_url,
            "REDIS_URL": running.redis_url,
            **choose_secrets(self.home, self._wanted),
            "PERMIT_PUBLIC_KEY": signing_key.public_key_of(permit_private_key),
            "OCTOLLM_URL": self.url,
        }
        self._write_stack_file(chosen)
        self.environ = self._wanted | chosen | self._process_settings()
        checked = settings.load(self.environ)
        self._models = checked.models
        self.environ["PERMIT_PRIVATE_KEY"] = permit_private_key
        # a planner that asks a model waits most of the time
        if not self.environ.get("PLANNER_THREADS") and (checked.openai_api_key or checked.anthropic_api_key):
            self.environ["PLANNER_THREADS"] = str(ARMS["planner"].max_concurrent_tasks)
        row_security = migrate.upgrade(running.database_url)
        if row_security and row_security.fault:
            self._say(f"warning: {row_security.fault}: {row_security.advice}")
        if not self._wanted.get("DATABASE_URL"):
            self._logins = migrate.make_logins(running.database_url)

    def _lock(self) -> None:
        """Lock the state directory for the lifetime of this process; the kernel frees a dead process's lock."""
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
        """Return the environment of one kind of process: its settings and secrets, and its own database login."""
        arms = [kind] if _is_plug_in(kind) else []
        line = PLUG_INS if arms else kind
        own = {"DATABASE_URL": self._logins[line]} if line in self._logins else {}
        return environment_of(line, self.environ, models=self._models, arms=arms) | own

    def _write_stack_file(self, chosen: Mapping[str, str]) -> None:
        path = self.home / STACK_FILE
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))

    def _process_settings(self) -> dict[str, str]:
        """Return the settings for directories, addresses and flags; empties the metrics directory."""
        metrics = self.home / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir()
        return {
            "OCTOLLM_HOME": str(self.home),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "BIND_HOST": "127.0.0.1",
            "PORT": str(self.port),
            # the processes run in another directory
            **{
                name: os.pathsep.join(
                    str(Path(directory.strip()).absolute())
                    for directory in self._wanted.get(name, "").split(os.pathsep)
                    if directory.strip()
                )
                for name in ("ARMS_PATH", "RECIPES_PATH")
            },
            "WORKER_FLAGS": self._wanted.get("WORKER_FLAGS") or ("-E" if "flower" in self._counts else ""),
        }

    def _launch(self) -> None:
        """Start every process, and a thread that restarts those that end."""
        commands = read_procfile()
        reaper = ChildReaper()
        self._ending.callback(reaper.close)
        for kind, count in self._counts.items():
            for number in range(1, count + 1):
                name = f"{kind}.{number}"
                log = self.home / "log" / f"{name}.log"
                log.unlink(missing_ok=True)
                command = commands[PLUG_INS if _is_plug_in(kind) else kind]
                self._services.append(
                    Service(name, command, environ=self._environ_of(kind), log=log, reaper=reaper)
                )
        self._ending.callback(self._services.clear)
        self._ending.callback(self._end_services)
        for service in self._services:
            service.start()
        watcher = Loop("stack-watcher", self._watch, pace=Pace(_POLL_SECONDS))
        watcher.start()
        self._ending.callback(watcher.stop, wait_seconds=_LONGEST_RESTART_SECONDS)

    def _watch(self) -> None:
        for service in self._services:
            if message := service.restart_if_ended():
                self._say(message)

    def _wait_until_ready(self) -> None:
        """Wait until each arm has a worker, then until the API reports it.

        The API is not asked before: each of its processes would repeat for a second that it is not ready.
        """
        give_up = time.monotonic() + READY_SECONDS
        refusals = 0
        with contextlib.closing(_Arrivals(self.database_url)) as arrivals:
            while not self._interrupts:
                if arrivals.are_complete():
                    status, _ = self._get_ready()
                    if status == http.HTTPStatus.OK:
                        time.sleep(_AGREEMENT_SECONDS if refusals else 0)
                        return
                    refusals += status != 0
                self._check_start(give_up)
                time.sleep(_START_POLL_SECONDS)

    def _check_start(self, give_up: float) -> None:
        """Raise StackError for a start that fails or takes too long."""
        self._raise_if_a_start_fails()
        if time.monotonic() >= give_up:
            _, body = self._get_ready()
            raise StackError(
                f"not ready after {READY_SECONDS:g} s; GET /ready answers: {body or 'nothing'}; "
                f"the logs are in {self.home / 'log'}"
            )

    def _raise_if_a_start_fails(self) -> None:
        """Raise StackError early for a start that can't succeed: a wrong setting, a module that can't be imported."""
        for service in self._services:
            if service.failed_starts >= _MAX_FAILED_STARTS:
                raise StackError(
                    f"{service.name} ended {service.failed_starts} times during its start; {service.log} ends with:\n"
                    f"{child_process.tail(service.log)}"
                )

    def _get_ready(self) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            link.request("GET", "/ready")
            answer = link.getresponse()
            return answer.status, answer.read(4096).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            link.close()

    def _end_services(self) -> None:
        """Stop the services that clients use, then the workers; kill those that do not end in time."""
        front = [service for service in self._services if service.name.partition(".")[0] in _FRONT]
        behind = [service for service in reversed(self._services) if service not in front]
        give_up = time.monotonic() + STOP_SECONDS
        for batch in (front, behind):
            for service in batch:
                service.ask_to_stop()
            self._wait_for_the_end(batch, give_up)
            for service in batch:
                service.kill()

    def _wait_for_the_end(self, batch: Sequence[Service], give_up: float) -> None:
        """Wait until all have ended, the time is up or a second signal came; report at intervals which are left."""
        say_again_at = time.monotonic() + _PROGRESS_SECONDS
        while left := [service.name for service in batch if not service.is_stopped()]:
            now = time.monotonic()
            if self._interrupts > 1 or now >= give_up:
                return
            if now >= say_again_at:
                self._say(f"waiting at most {give_up - now:.0f} s for {', '.join(sorted(left))}")
                say_again_at = now + _PROGRESS_SECONDS
            time.sleep(_POLL_SECONDS)


class _Arrivals:
    """Asks Postgres whether each arm's workers have reported themselves."""

    def __init__(self, database_url: str) -> None:
        self._engine = open_engine(database_url, pool_size=1)

    def are_complete(self) -> bool:
        """Return whether each arm has a worker, or one that withholds itself; False while Postgres is away."""
        try:
            with statement(self._engine) as conn:
                return {pool.arm for pool in pools.alive(conn)} >= {
                    arm.arm_id for arm in ARMS.values() if arm.has_workers
                }
        except SQLAlchemyError:
            return False

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


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

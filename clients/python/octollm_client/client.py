"""The sync client."""

from __future__ import annotations

import io
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

from octollm_client import _files, _flows, _methods
from octollm_client._call import Close, Emit, Ended, Pause, Read, Reply, Send, advance
from octollm_client._files import content_of
from octollm_client._options import failure_of, session_of, timeout_of, uses_proxies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import TypeVar, Unpack

    import httpx2

    from octollm_client import types as t
    from octollm_client._call import Command, Flow
    from octollm_client._files import Source
    from octollm_client._retry import RetryPolicy
    from octollm_client._session import Session

    T = TypeVar("T")


class _Execution:
    """Carries out the commands of one flow, which has one open stream at most."""

    def __init__(self, session: Session, http: httpx2.Client) -> None:
        self._session = session
        self._http = http
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def do(self, command: Command) -> Any:
        """Return the outcome of a command, which may be a ConnectionFailed."""
        import httpx2  # noqa: PLC0415 - 0.1 s, when a client is made

        try:
            match command:
                case Send():
                    return self._send(command)
                case Read():
                    return next(self._chunks, b"")
                case Pause(seconds):
                    time.sleep(seconds)
                case Close():
                    self.close()
        except httpx2.RequestError as error:
            self.close()
            return failure_of(error, self._session.url)
        return None

    def _send(self, command: Send) -> Reply:
        self.close()
        with content_of(command.content) as content:
            request = self._http.build_request(
                command.method,
                command.url,
                headers=command.headers,
                content=content,
                timeout=timeout_of(command),
            )
            response = self._http.send(request, stream=True)
        if command.is_stream and response.status_code < 400:
            self._response, self._chunks = response, response.iter_bytes()
            return Reply(response.status_code, response.headers, b"")
        try:
            return Reply(response.status_code, response.headers, response.read())
        finally:
            response.close()

    def close(self) -> None:
        """Close the open stream, if there is one."""
        if self._response is not None:
            self._response.close()
            self._response, self._chunks = None, iter(())


class Runner:
    """Runs flows on a session with a pool of connections."""

    def __init__(self, session: Session, http: httpx2.Client) -> None:
        self.session = session
        self._http = http

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return its result."""
        with closing(flow), closing(_Execution(self.session, self._http)) as execution:
            command = advance(flow, None)
            while not isinstance(command, Ended):
                command = advance(flow, execution.do(command))
        result: T = command.value
        return result

    def iterate(self, flow: Flow[None]) -> Iterator[Any]:
        """Yield what a flow emits."""
        with closing(flow), closing(_Execution(self.session, self._http)) as execution:
            command = advance(flow, None)
            while not isinstance(command, Ended):
                if isinstance(command, Emit):
                    yield command.item
                command = advance(flow, execution.do(command))


class Tasks(_methods.Tasks):
    """Submit a goal, follow its task, and act on it."""

    def wait(self, task_id: str, *, timeout: float | None = None) -> t.Status:
        """Return the task's status once it has ended. Raises WaitTimeout after `timeout` seconds (None: never)."""
        return self._runner.run(_flows.wait(self._runner.session, task_id, timeout=timeout))

    def events(self, task_id: str, *, after: int = 0, progress: bool = False) -> Iterator[t.Event]:
        """Yield the task's events after number `after`, each exactly once, as they happen, until its last one.

        A connection that is lost is opened again after the last event. With `progress` there are also transient
        events, which have no `seq` and may be lost.
        """
        return self._runner.iterate(
            _flows.events(self._runner.session, task_id, after=after, progress=progress)
        )

    def save_artifacts(self, task_id: str, folder: str | Path) -> list[Path]:
        """Write the files of the task's result into a folder and return their paths; no file is replaced."""
        return self._runner.run(_flows.save_artifacts(self._runner.session, task_id, folder))


class Files(_methods.Files):
    """Files that tasks read, and files of their results."""

    def upload(
        self, source: Source, *, filename: str | None = None, media_type: str | None = None
    ) -> t.Artifact:
        """Store a file (a path, or bytes) and return its id; the same content always has the same id."""
        call = _files.upload_call(source, filename=filename, media_type=media_type)
        return self._call(call)  # type: ignore[no-any-return]  # JSON

    def download(self, artifact_id: str) -> bytes:
        """Return a file's content. Raises DownloadDamaged if it is not the content of this id."""
        target = io.BytesIO()
        self._runner.run(_flows.download(self._runner.session, artifact_id, target))
        return target.getvalue()

    def download_to(self, artifact_id: str, path: str | Path) -> Path:
        """Write a file's content to a path, in pieces; what was there is replaced once all has arrived."""
        return self._runner.run(_flows.download_to(self._runner.session, artifact_id, path))


class Client(_methods.Operations):
    """A client of an OctoLLM server; a context manager, and safe to share between threads.

    `url`, `api_key` and `token` are OCTOLLM_URL, OCTOLLM_API_KEY and OCTOLLM_TOKEN unless given. `timeout` in seconds
    limits each read and write. `http` is a client of httpx2 with options of your own (proxies, certificates).
    """

    tasks: Tasks
    files: Files

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        http: httpx2.Client | None = None,
    ) -> None:
        import httpx2  # noqa: PLC0415 - 0.1 s, which `import octollm_client` must not take

        session = session_of(url, api_key=api_key, token=token, timeout=timeout, retry=retry)
        self._http = http or httpx2.Client(base_url=session.url, trust_env=uses_proxies(session.url))
        runner = Runner(session, self._http)
        self._runner = runner
        super().__init__(runner)
        self.tasks = Tasks(runner)
        self.files = Files(runner)

    def run(
        self,
        goal: str,
        *,
        files: Sequence[Source] = (),
        timeout: float | None = None,
        **options: Unpack[t.TaskOptions],
    ) -> t.Completed:
        """Upload `files`, submit a task that reads them, wait for its end, and return it with its result.

        Raises TaskFailed if it fails or is cancelled, and WaitTimeout after `timeout` seconds (None: never).
        """
        return self._runner.run(
            _flows.run(self._runner.session, {"goal": goal, **options}, files=files, timeout=timeout)
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def __repr__(self) -> str:
        """Name the server, not the credential."""
        return f"{type(self).__name__}({self._runner.session.url!r})"

"""What takes more than one call: wait, follow events, read pages, upload, download, run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from octollm_client import _calls
from octollm_client._call import Close, Emit, Pause, Read
from octollm_client._event_stream import EventReader
from octollm_client._files import new_file, replacing, upload_call
from octollm_client.errors import ConnectionFailed, DownloadDamaged, TaskFailed, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from octollm_client import types as t
    from octollm_client._call import Call, Command, Flow
    from octollm_client._files import Source
    from octollm_client._session import Session

FINAL = frozenset({"completed", "failed", "cancelled"})
_LAST_EVENTS = frozenset(f"task.{status}" for status in FINAL)
# the longest that the server lets a caller wait
_WAIT_SECONDS = 30.0
# a server without room for another waiting caller answers at once
_POLL_SECONDS = 1.0
# the server pings every 15 s
_SILENCE_SECONDS = 40.0
_RECONNECT_SECONDS = 1.0


def wait(session: Session, task_id: str, *, timeout: float | None) -> Flow[t.Status]:
    """Return the task's status once it has ended. Raises WaitTimeout after `timeout` seconds (None: never)."""
    began = time.monotonic()
    while True:
        asked_at = time.monotonic()
        left = float("inf") if timeout is None else began + timeout - asked_at
        seconds = int(max(0.0, min(_WAIT_SECONDS, left)))
        task: t.Status = yield from session.call(
            _calls.TASKS_SHOW.given(
                path={"task_id": task_id}, query={"wait": seconds}, timeout=seconds + session.timeout
            )
        )
        if task["status"] in FINAL:
            return task
        now = time.monotonic()
        left = float("inf") if timeout is None else began + timeout - now
        if left <= 0:
            raise WaitTimeout(task, timeout or 0)
        if now - asked_at < _POLL_SECONDS:
            yield Pause(min(_POLL_SECONDS, left))


def events(session: Session, task_id: str, *, after: int, progress: bool) -> Generator[Command, Any, None]:
    """Emit the task's events after number `after`, each once, until its last one.

    A stream that is cut is opened again after the last event that arrived. Raises ApiError, and ConnectionFailed if
    the server stays away.
    """
    failures = 0
    while True:
        call = _calls.STREAM_READ.given(
            path={"task_id": task_id},
            query={"after": after, "progress": progress or None},
            accept="text/event-stream",
            reads="stream",
            timeout=_SILENCE_SECONDS,
        )
        reply = yield from session.reply(call)
        if reply.status == 204:
            yield Close()
            return
        reader, known = EventReader(), after
        try:
            while chunk := (yield Read()):
                for event in reader.feed(chunk):
                    seq = event.get("seq")
                    if seq is not None:
                        if seq <= after:
                            continue
                        after = seq
                    yield Emit(event)
                    if event["type"] in _LAST_EVENTS:
                        yield Close()
                        return
        except ConnectionFailed:
            failures = 0 if after > known else failures + 1
            if failures > session.retry.max_retries:
                raise
        yield Pause(_RECONNECT_SECONDS if failures == 0 else session.retry.backoff(failures))


def pages(session: Session, call: Call, items: str) -> Generator[Command, Any, None]:
    """Emit the items of all pages; `items` is the member that has them."""
    query = dict(call.query or {})
    while True:
        page = yield from session.call(call._replace(query=query))
        for item in page[items]:
            yield Emit(item)
        if not page["next_cursor"]:
            return
        query["cursor"] = page["next_cursor"]


def download(session: Session, artifact_id: str, target: IO[bytes]) -> Flow[None]:
    """Write a file's content to `target`; begin again if the connection is lost. Raises DownloadDamaged."""
    from hashlib import sha256  # noqa: PLC0415 - 10 ms

    call = _calls.FILES_FETCH.given(path={"artifact_id": artifact_id}, accept="*/*", reads="stream")
    failures = 0
    while True:
        target.seek(0)
        target.truncate()
        content = sha256()
        yield from session.reply(call)
        try:
            while chunk := (yield Read()):
                content.update(chunk)
                target.write(chunk)
        except ConnectionFailed:
            failures += 1
            if failures > session.retry.max_retries:
                raise
            yield Pause(session.retry.backoff(failures))
            continue
        if content.hexdigest() != artifact_id:
            raise DownloadDamaged(f"What arrived is not the file {artifact_id}: its SHA-256 differs.")
        return


def download_to(session: Session, artifact_id: str, path: str | Path) -> Flow[Path]:
    """Write a file's content to a path, whose file is replaced once all has arrived. Raises DownloadDamaged."""
    with replacing(path) as target:
        yield from download(session, artifact_id, target.file)
    return target.path


def save_artifacts(session: Session, task_id: str, folder: str | Path) -> Flow[list[Path]]:
    """Write the files of a task's result into a folder and return their paths. Raises DownloadDamaged."""
    task: t.Status = yield from session.call(_calls.TASKS_SHOW.given(path={"task_id": task_id}))
    saved = []
    for artifact in task["result"]["artifacts"] if task["result"] else ():
        with new_file(folder, artifact["name"]) as target:
            yield from download(session, artifact["artifact_id"], target.file)
        saved.append(target.path)
    return saved


def run(
    session: Session, contract: Mapping[str, Any], *, files: Sequence[Source], timeout: float | None
) -> Flow[t.Completed]:
    """Upload files, submit a task with them, wait, return it completed. Raises TaskFailed, WaitTimeout."""
    uploads = [upload_call(source, filename=None, media_type=None) for source in files]
    attached = list(contract.get("attachments") or ())
    for upload in uploads:
        stored = yield from session.call(upload)
        attached.append(stored["artifact_id"])
    body = {**contract, "attachments": attached} if uploads else contract
    accepted = yield from session.call(_calls.TASKS_SUBMIT.given(body=body))
    task = yield from wait(session, accepted["task_id"], timeout=timeout)
    if task["status"] != "completed":
        raise TaskFailed(task)
    return cast("t.Completed", task)

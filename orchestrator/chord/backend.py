"""The Celery result backend: commits a result, its chord part and the chord's count together, then publishes.

Any Celery application may use it (`octollm+postgresql://...`); it does not depend on plans. A task may define a hook,

    on_stored(conn, request, state, result) -> list[Signature]

which runs in the transaction that stores the task's outcome, before the outcome is written and counted. If it raises
`Refused`, nothing is written and the message is acknowledged. Plain signatures that it returns join the chord
`request.group`; each chord that it returns is opened. All are published after the commit.

Such a task may also define

    store_at_once(conn, request, state, result) -> list[Signature] | None

which is called first, in autocommit mode. It stores and counts the outcome itself, in one statement, and returns what
is to be published; or it writes nothing and returns None, and `on_stored` is called.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from celery import Signature, chord, group, maybe_signature, states
from celery.exceptions import BackendStoreError, ChordError, TaskRevokedError
from celery.result import allow_join_result, result_from_tuple
from celery.signals import worker_ready
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from orchestrator.chord import chord as chords
from orchestrator.chord import outbox, results
from orchestrator.chord.chord import EncodedResult, FinishedPart, Ready, Refused
from orchestrator.chord.outbox import BrokerAway
from orchestrator.chord.result_backend import ResultBackend
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Due:
    """Messages and chord bodies to publish after a commit."""

    signatures: list[Signature[Any]] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)


class PostgresBackend(ResultBackend):
    """Stores results and chords in Postgres."""

    _call_task_errbacks: Callable[..., None]
    _fail_chain: Callable[..., None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._announced: tuple[str, int | None] | None = None
        worker_ready.connect(self._start_refire)

    def _start_refire(self, sender: Any, **_: Any) -> None:
        if sender.app is self.app and self.app.conf.get("octollm_fire_ready", True):
            outbox.start_refiring(self.fire_ready)

    @property
    def engine(self) -> Engine:
        """The process' one engine: threads share it, a forked child starts with an empty pool."""
        return self.database.engine

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a transaction for the caller; waits some seconds for a server that restarts."""
        return self.database.transaction()

    # Celery stores a result and then counts the part. The three methods below do both in one commit.

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store a task's return value and count its part."""
        keeps = store_result and not (request is not None and request.ignore_result)
        self._conclude(task_id, result, state, request=request, store=keeps)

    @override
    def mark_as_failure(
        self,
        task_id: str,
        exc: Exception,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store a task's error and count its part; fail the rest of its chain and call its error callbacks."""
        if not self._conclude(task_id, exc, state, traceback=traceback, request=request, store=store_result):
            return
        if request:
            chain = getattr(request, "chain", None)
            self._fail_chain(chain, exc, traceback, store_result=store_result, state=state)
            if call_errbacks and request.errbacks:
                self._call_task_errbacks(request, exc, traceback)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that a task was revoked and count its part."""
        self._conclude(task_id, TaskRevokedError(reason), state, request=request, store=store_result)

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a state. For a task of a chain that failed before the task's turn, count its part as well."""
        if _is_unrun_member(request):
            self._count(task_id, result, state, traceback=traceback, request=request)
            return self.encode_result(result, state)
        return super().store_result(task_id, result, state, traceback, request, **kwargs)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a part whose result is not stored. Counting a part twice changes nothing."""
        if request.group and request.id:
            self._count(request.id, result, state, request=request, store=False)

    def apply_chord(self, header_result_args: tuple[Any, Any], body: Any, **kwargs: Any) -> None:
        """Open the chord before its header is published. A lazy header is not iterated; its size is set later."""
        chord_id, members = header_result_args[:2]
        size, header = self.shape(chord_id, members)
        encoded = self.to_bytes(body)
        self.run(lambda conn: chords.reopen(conn, chord_id, body=encoded, header=header, size=size))
        self._announced = (chord_id, size)
        if size == 0:
            self._fire_or_leave(Ready(chord_id, encoded, header))

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Set the header's size; runs no query if `apply_chord` has just set it."""
        if self._announced == (group_id, chord_size):
            return
        ready = self.run(lambda conn: chords.resize(conn, group_id, chord_size))
        if ready is not None:
            self._fire_or_leave(ready)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Make a task a member of an open chord. Adding the same task id twice changes nothing."""
        self.run(lambda conn: chords.join(conn, chord_id, [result.id]))

    def fire_ready(self, limit: int = 100, *, older_than_seconds: float = 1.0) -> int:
        """Publish the bodies of chords that have been ready for longer than that; return how many were published.

        Any number of processes may call it: each takes one chord at a time and delays it while it publishes. Returns
        at once if the broker is away.
        """
        fired = 0
        for _ in range(limit):
            due = self.database.run(lambda conn: chords.ready(conn, 1, older_than_seconds=older_than_seconds))
            if not due:
                break
            try:
                fired += self._fire(due[0])
            except BrokerAway:
                break
        return fired

    def _cleanup(self) -> None:
        super()._cleanup()
        chord_expires = self.app.conf.get("result_chord_expires")
        seconds = self.prepare_expires(chord_expires)
        if seconds:
            waits_too = chord_expires is not None
            self.database.run(lambda conn: chords.expire(conn, seconds=seconds, open_too=waits_too))

    def _conclude(
        self,
        task_id: str,
        result: Any,
        state: str,
        *,
        traceback: Any = None,
        request: Any,
        store: bool,
    ) -> bool:
        """Store and count a final outcome; False if the task's hook refused it."""
        task = self._with_hook(request)
        if task is not None:
            return self._conclude_own(task, result, state, traceback=traceback, request=request, store=store)
        if request and request.chord and request.group:
            self._count(task_id, result, state, traceback=traceback, request=request, store=store)
        elif store:
            super().store_result(task_id, result, state, traceback, request)
        return True

    def _count(
        self,
        task_id: str,
        result: Any,
        state: str,
        *,
        traceback: Any = None,
        request: Any,
        store: bool = True,
    ) -> None:
        outcome = self.outcome(self.encode_result(result, state), state, traceback=traceback, request=request)
        index = getattr(request, "group_index", None)
        part = FinishedPart(
            task_id,
            idx=chords.ANYWHERE if index is None else index,
            failed=state in states.PROPAGATE_STATES,
            keep_value=True,
        )

        def count(conn: Connection) -> chords.Count:
            return chords.count_part(conn, request.group, part, outcome=outcome, store=store)

        counted = self.storing(task_id, state, lambda: self.database.run(count))
        ready = counted.ready
        if counted.lacks_body:
            body = self.to_bytes(request.chord)
            self.run(lambda conn: chords.keep_body(conn, request.group, body=body))
            ready = ready and replace(ready, body=body)
        if ready is not None:
            self._fire_or_leave(ready)

    def _with_hook(self, request: Any) -> Any:
        name = getattr(request, "task", None)
        task = self.app.tasks.get(name) if isinstance(name, str) else None
        return task if hasattr(task, "on_stored") else None

    def _conclude_own(
        self, task: Any, result: Any, state: str, *, traceback: Any, request: Any, store: bool
    ) -> bool:
        def conclude(conn: Connection) -> _Due:
            encoded = self.encode_result(result, state)
            outcome = self.outcome(encoded, state, traceback=traceback, request=request)
            known = request.group is not None and chords.lock(conn, request.group) is not None
            signatures = task.on_stored(conn, request, state, result)
            crash_point.within(conn, Point.MID_STATEMENT)
            return self._write(
                conn, request.id, outcome, signatures, chord_id=request.group if known else None, store=store
            )

        def store_either_way() -> _Due:
            return self._store_at_once(task, request, state, result) or self.database.transact(conclude)

        try:
            due = self.storing(request.id, state, store_either_way)
        except Refused as refused:
            log.warning("chord.refused", task=task.name, task_id=request.id, state=state, reason=str(refused))
            return False
        crash_point.here(Point.COMMITTED_NOT_PUBLISHED)
        outbox.publish_all(self.app, due.signatures)
        for ready in due.ready:
            self._fire_or_leave(ready)
        crash_point.here(Point.PUBLISHED_NOT_ACKNOWLEDGED)
        return True

    def _store_at_once(self, task: Any, request: Any, state: str, result: Any) -> _Due | None:
        """Let the task store its outcome in one statement; None if it has no such hook, or needs a transaction."""
        if not hasattr(task, "store_at_once"):
            return None

        def store(conn: Connection) -> Sequence[Signature[Any]] | None:
            crash_point.within(conn, Point.MID_STATEMENT)
            stored: Sequence[Signature[Any]] | None = task.store_at_once(conn, request, state, result)
            return stored

        signatures = self.database.run(store)
        return None if signatures is None else _Due(list(signatures))

    def _write(
        self,
        conn: Connection,
        task_id: str,
        outcome: EncodedResult,
        signatures: Sequence[Signature[Any]],
        *,
        chord_id: str | None,
        store: bool,
    ) -> _Due:
        """Write the outcome of a task with a hook; the members it added join before its own part is counted."""
        due = _Due()
        plain = [one for one in signatures if not isinstance(one, chord)]
        for opened in signatures:
            if isinstance(opened, chord):
                self._open(conn, opened, due)
        if chord_id is None:
            due.signatures += plain
            if store:
                results.store(conn, task_id, outcome=outcome)
            return due
        chords.join(conn, chord_id, [str(one.id) for one in plain])
        due.signatures += [_member(one, chord_id) for one in plain]
        # a failed step is data, so the chord still runs its body
        count = chords.count_part(conn, chord_id, FinishedPart(task_id), outcome=outcome, store=store)
        if count.ready is not None:
            due.ready.append(count.ready)
        return due

    def _open(self, conn: Connection, opened: Any, due: _Due) -> None:
        header = opened.tasks.tasks if isinstance(opened.tasks, group) else opened.tasks
        body = self.to_bytes(opened.body)
        chords.open(conn, opened.id, body=body, size=len(header))
        due.signatures += [_member(one, opened.id) for one in header]
        if not header:
            due.ready.append(Ready(opened.id, body, None))

    def _fire_or_leave(self, ready: Ready) -> None:
        """Fire; if a server is away, the chord stays ready for `fire_ready` or a repeated part."""
        try:
            self._fire(ready)
        except (SQLAlchemyError, BackendStoreError, BrokerAway) as error:
            log.warning("chord.fire_failed", chord_id=ready.chord_id, error=repr(error))

    def _fire(self, ready: Ready) -> bool:
        """Publish a ready chord's body, or fail it with a part's error, and record that in its row.

        Raises SQLAlchemyError, BackendStoreError or BrokerAway when a server is away. Returns False for a chord that
        can be neither fired nor failed: it is closed.
        """
        try:
            callback: Any = maybe_signature(self.decode(ready.body or b"null"), app=self.app)
            self._fire_body(ready, callback)
        except (SQLAlchemyError, BackendStoreError, BrokerAway):
            raise
        except Exception:
            # another try would fail too and would delay other chords
            log.exception("chord.set_aside", chord_id=ready.chord_id)
            self.run(lambda conn: chords.close(conn, ready.chord_id))
            return False
        self.run(lambda conn: chords.mark_fired(conn, ready.chord_id))
        return True

    def _fire_body(self, ready: Ready, callback: Any) -> None:
        try:
            values = self._values(ready, callback)
            with outbox.broker_needed(self.app, callback.id):
                if callback.immutable and type(callback) is Signature:
                    outbox.publish_one(self.app, callback)
                else:
                    callback.delay(values)
        except ChordError as error:
            self._fail(ready, callback, error)
        except (SQLAlchemyError, BackendStoreError, BrokerAway):
            raise
        except Exception as error:
            failed = ChordError(f"Callback error: {error!r}")
            failed.__cause__ = error
            self._fail(ready, callback, failed)

    def _fail(self, ready: Ready, callback: Any, error: ChordError) -> None:
        log.warning("chord.failed", chord_id=ready.chord_id, error=str(error))
        with outbox.broker_needed(self.app, callback.id):
            self.chord_error_from_stack(callback, error)

    def _values(self, ready: Ready, callback: Any) -> list[Any]:
        """Return the parts' values in the header's order and shape; raise ChordError if a part failed."""
        needs_none = bool(callback.immutable) or ready.header is not None
        parts = self.run(lambda conn: chords.parts(conn, ready.chord_id, failed_only=needs_none))
        for part in parts:
            if part.failed:
                error = self.exception_to_python(self.decode(part.value or b"null"))
                raise ChordError(f"Dependency {part.task_id} raised {error!r}") from error
        if ready.header is None or callback.immutable:
            return [None if part.value is None else self.decode(part.value) for part in parts]
        return self._nested_values(ready.header)

    def _nested_values(self, header: bytes) -> list[Any]:
        nested: Any = result_from_tuple(self.decode(header), self.app)
        nested.on_ready()
        with allow_join_result():
            values: list[Any] = nested.join_native(timeout=self.app.conf.result_chord_join_timeout)
        return values


def _is_unrun_member(request: Any) -> bool:
    """Return whether the request was made from a signature, as for a chain's tasks that will not run."""
    return bool(request and "subtask_type" in vars(request) and request.chord and request.group)


def _member(signature: Signature[Any], chord_id: str) -> Signature[Any]:
    member = signature.clone()
    member.options["group_id"] = chord_id
    return member

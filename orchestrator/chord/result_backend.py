"""Stores Celery's results and groups in Postgres without the ORM: one statement for each operation."""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, TypeVar

from celery import states
from celery.backends.base import BaseBackend, unpickle_backend  # type: ignore[attr-defined]  # stubs lack it
from celery.exceptions import BackendStoreError, ImproperlyConfigured
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import GroupResult, result_from_tuple
from celery.utils.functional import _regen  # type: ignore[attr-defined]  # the stubs leave it out
from celery.utils.time import maybe_timedelta
from kombu.utils.encoding import ensure_bytes
from sqlalchemy import Connection

from orchestrator.chord import results
from orchestrator.chord.chord import EncodedResult, StoreAgain
from orchestrator.chord.database import Database, is_transient
from orchestrator.connections.server_url import driver_url

T = TypeVar("T")

STORE_RETRIES: Final = 20
"""Retries while Postgres is away (about a minute), unless the application sets result_backend_max_retries."""

_FIRST_POLL_SECONDS: Final = 0.01


class ResultBackend(BaseBackend):
    """Task results in the table `results`, saved groups in `groups`.

    Celery's own database backend has the same options; it imports SQLAlchemy's ORM: 8 MB in every process.
    """

    app: Any
    url: str
    expires: Any
    max_retries: float
    engine_options: dict[str, Any]
    always_retry: bool | None
    _cache: Any
    _ensure_retryable: Callable[..., Any]
    _get_result_meta: Callable[..., dict[str, Any]]
    _ensure_not_eager: Callable[[], None]

    subpolling_interval = 0.5
    supports_native_join = True
    supports_result_compression = True

    def __init__(
        self,
        dburi: str | None = None,
        engine_options: dict[str, Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(expires_type=maybe_timedelta, url=url, **kwargs)
        conf = self.app.conf
        # Celery's default is to lose a result that can't be stored at once
        if not conf.value_set_for("result_backend_always_retry") or self.always_retry is None:
            self.always_retry = True
        if not conf.value_set_for("result_backend_max_retries") or self.max_retries is None:
            self.max_retries = STORE_RETRIES
        # Without this Celery creates a backend for each thread; this one shares its pool between threads.
        self.thread_safe = True
        address = url or dburi or conf.database_url
        if not address:
            raise ImproperlyConfigured("the result backend has no address: set result_backend")
        self.url = driver_url(address)
        self._is_extended = bool(conf.find_value_for_key("extended", "result"))
        chosen = conf.database_engine_options if conf.value_set_for("database_engine_options") else {}
        self.engine_options = dict(engine_options or {})
        self.database = Database(self.url, options={**chosen, **self.engine_options})

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Return how to make this backend again in another process."""
        options = {"dburi": self.url, "expires": self.expires, "engine_options": self.engine_options}
        return unpickle_backend, (self.__class__, args, {**(kwargs or {}), **options})

    def cleanup(self) -> None:
        """Delete expired results."""
        self._ensure_retryable(self._cleanup)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Return whether Celery may retry the operation."""
        return is_transient(exc) or isinstance(exc, StoreAgain)

    def on_backend_retryable_error(self, exc: Exception) -> None:
        """Do nothing: the pool has already dropped the broken connection."""

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run idempotent `work` in autocommit mode, and repeat it while Postgres is away."""
        answer: T = self._ensure_retryable(self.database.run, work)
        return answer

    def outcome(self, value: Any, state: str, *, traceback: Any, request: Any) -> EncodedResult:
        """Encode a task's outcome; `value` was returned by `encode_result`."""
        rest = self._rest(state, request)
        return EncodedResult(
            state,
            self.to_bytes(value),
            None if traceback is None else str(traceback),
            self.to_bytes(rest) if rest else None,
        )

    def _rest(self, state: str, request: Any) -> dict[str, Any]:
        """Return what Celery stores about a task besides its outcome."""
        if self._is_extended:
            meta = self._get_result_meta(result=None, state=state, traceback=None, request=request)
        else:
            meta = {
                "children": self.current_task_children(request),
                "group_id": getattr(request, "group", None),
                "parent_id": getattr(request, "parent_id", None),
            }
        return {key: kept for key, kept in meta.items() if kept and key not in ("status", "date_done")}

    def to_bytes(self, value: Any) -> bytes:
        """Encode with result_serializer and result_compression."""
        encoded: bytes = ensure_bytes(self.encode(value))
        return encoded

    def shape(self, chord_id: str, members: Any) -> tuple[int | None, bytes | None]:
        """Return a header's size, or None if not known yet, and its encoded GroupResult if it is nested."""
        if isinstance(members, _regen):
            return None, None
        if any(isinstance(member, GroupResult) for member in members):
            return None, self.to_bytes(self.app.GroupResult(chord_id, members).as_tuple())
        return len(members), None

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a state and a value; a stored SUCCESS stays."""
        encoded = self.encode_result(result, state)
        outcome = self.outcome(encoded, state, traceback=traceback, request=request)

        def store(conn: Connection) -> None:
            results.store(conn, task_id, outcome=outcome)

        self.storing(task_id, state, lambda: self.database.run(store))
        return encoded

    def storing(self, task_id: str, state: str, work: Callable[[], T]) -> T:
        """Run `work` and repeat it while Postgres is away; raise BackendStoreError when the retries are used up."""

        def give_up(message: str) -> BackendStoreError:
            return BackendStoreError(message, task_id=task_id, state=state)  # type: ignore[call-arg]  # celery-types

        answer: T = self._ensure_retryable(
            work, fallback_exc=give_up, fallback_msg="failed to store result on the backend"
        )
        return answer

    def task_result_exists(self, task_id: str) -> bool:
        """Return whether the task has stored anything."""
        return bool(self.run(lambda conn: results.read(conn, [task_id])))

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return self._metas([task_id]).get(task_id) or {"status": states.PENDING, "result": None}

    def _metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        rows = self.database.run(lambda conn: results.read(conn, task_ids))
        return {row.task_id: self._meta(row) for row in rows}

    def _meta(self, row: results.StoredResult) -> dict[str, Any]:
        outcome = row.outcome
        return self.meta_from_decoded(
            {
                "task_id": row.task_id,
                "status": outcome.status,
                "result": None if outcome.value is None else self.decode(outcome.value),
                "traceback": outcome.traceback,
                "children": [],
                "date_done": row.stored_at if outcome.status in states.READY_STATES else None,
                **(self.decode(outcome.meta) if outcome.meta else {}),
            }
        )

    def _forget(self, task_id: str) -> None:
        self.database.run(lambda conn: results.forget(conn, task_id))

    def _save_group(self, group_id: str, result: Any) -> Any:
        value = self.to_bytes(result.as_tuple())
        self.database.run(lambda conn: results.save_group(conn, group_id, value=value))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        saved = self.database.run(lambda conn: results.read_group(conn, group_id))
        if saved is None:
            return None
        value, saved_at = saved
        return {
            "task_id": group_id,
            "result": result_from_tuple(self.decode(value), self.app),
            "date_done": saved_at,
        }

    def _delete_group(self, group_id: str) -> None:
        self.database.run(lambda conn: results.delete_group(conn, group_id))

    def _cleanup(self) -> None:
        if self.expires:
            seconds = self.expires.total_seconds()
            self.database.run(lambda conn: results.expire(conn, seconds=seconds))

    def get_many(  # noqa: PLR0917
        self,
        task_ids: Collection[str],
        timeout: float | None = None,
        interval: float | None = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], None] | None = None,
        on_interval: Callable[[], None] | None = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = states.READY_STATES,  # noqa: N803
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (task id, meta) of each task that has ended; each poll is one query for all missing tasks."""
        missing = set(task_ids)
        for _ in _polls(timeout, interval, max_iterations):
            ended = {
                task_id: meta
                for task_id, meta in self._ensure_retryable(self._metas, missing).items()
                if meta["status"] in READY_STATES
            }
            self._cache.update(ended)
            missing -= ended.keys()
            for task_id, meta in ended.items():
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            if not missing:
                return
            if on_interval is not None:
                on_interval()

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Wait until the task has ended and return its meta; raise TimeoutError after `timeout` seconds."""
        self._ensure_not_eager()
        for _ in _polls(timeout, interval, None):
            meta = self.get_task_meta(task_id)
            # Check the parent first: its own error is more useful than the ChordError that it caused.
            if on_interval is not None and meta["status"] != states.SUCCESS:
                on_interval()
            if meta["status"] in states.READY_STATES:
                return meta
        raise AssertionError("unreachable")


def _polls(timeout: float | None, interval: float | None, limit: int | None) -> Iterator[int]:
    """Yield the number of each poll: in quick succession at first, later every `interval` seconds, up to `limit`.

    Raises Celery's TimeoutError after `timeout` seconds.
    """
    until = None if timeout is None else time.monotonic() + timeout
    longest = 0.5 if interval is None else interval
    pause = min(_FIRST_POLL_SECONDS, longest)
    count = 0
    while True:
        yield count
        count += 1
        if limit is not None and count >= limit:
            return
        if until is not None and time.monotonic() >= until:
            raise CeleryTimeoutError("The operation timed out.")
        time.sleep(pause if until is None else max(0.0, min(pause, until - time.monotonic())))
        pause = min(pause * 1.5, longest)

"""The sweeper process: repairs what crashes and lost messages left behind, and ends or deletes what is overdue.

Any number of sweepers may run at once.
"""

from orchestrator.process import lean

if __name__ == "__main__":
    lean.start_lean()

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from celery.exceptions import Ignore
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import bootstrap
from orchestrator.cache import coalescing
from orchestrator.chord.database import statement, transaction
from orchestrator.connections.redis_client import fault_of, open_client
from orchestrator.lifecycle import ending, requeue
from orchestrator.lifecycle.effects import Loss
from orchestrator.memory import (
    audit_log,
    pools,
    registered_arms,
    retention,
    schedules,
    steps,
    submissions,
    tasks,
    webhooks,
)
from orchestrator.memory.steps import Backlog
from orchestrator.models.errors import SandboxUnavailable, SettingsError
from orchestrator.observability import metric, tracing
from orchestrator.orchestrator import report_end
from orchestrator.process.loop import Loop, Pace
from orchestrator.queue import canvas, transport
from workers import approval_sweep, webhook
from workers.attempt.claims import claim_row
from workers.attempt.completion import give_up
from workers.runtime import process
from workers.runtime.lost_effect import ask_about
from workers.runtime.presence import show_alive
from workers.runtime.watchdog import Watchdog
from workers.schedule_sweep import ScheduleSweep
from workers.tasks import app

log = structlog.get_logger(__name__)

BATCH = 200
EPOCH_KEY = "octollm:broker-epoch"
_UNLIMITED_KILLS = 2**31 - 1
_FORGET_EVERY_SECONDS = 60.0
_ARMS_KEPT_SECONDS = 86_400.0


@dataclass(frozen=True)
class Swept:
    """How many rows a sweep worked on (BATCH: there may be more), and how many of them it healed.

    A healed row is one that a fault left behind: a lost message, an expired lease. Due retries, deadlines and
    retention are ordinary work.
    """

    taken: int = 0
    healed: int = 0

    @classmethod
    def healing(cls, count: int) -> "Swept":
        """Return the outcome of a sweep whose rows are all healed."""
        return cls(count, count)


class Sweeper:
    """The sweeps of one process; `tick` runs each once. Each sweep checks a row again after locking it."""

    def __init__(self, worker: bootstrap.WorkerProcess, broker: "redis.Redis") -> None:
        self._worker = worker
        self._engine = worker.engine
        self._settings = worker.settings
        self._hints = worker.hints
        self._broker = broker
        self._connected_at = time.monotonic()
        self._schedules = ScheduleSweep(worker)
        self._forget_again_at: dict[str, float] = {}

    def tick(self) -> bool:
        """Run each sweep once; return whether one found a full batch. A failed sweep runs again at the next tick.

        A sweep that deletes what is past its retention rests for a minute when it finds nothing.
        """
        show_alive(self._settings.alive_file)
        sweeps: tuple[Callable[[], Swept], ...] = (
            self.queue_again_after_flush,
            # an approval expires before its task's deadline
            self.attend_approvals,
            self.fire_schedules,
            self.end_past_deadline,
            self.expire_leases,
            self.promote_followers,
            self.give_up_poison,
            self.give_up_out_of_reach,
            self.publish_due,
            self.fire_ready,
            self.publish_webhooks,
        )
        retention = (self.forget_dead_pools, self.forget_old, self.forget_submissions, self.forget_arms)
        has_more = False
        for sweep in (*sweeps, *(sweep for sweep in retention if self._is_due(sweep.__name__))):
            try:
                swept = sweep()
            except SQLAlchemyError as error:
                self._connected_at = time.monotonic()
                log.warning("sweep.failed", sweep=sweep.__name__, error=error.__class__.__name__)
            except Exception:
                log.exception("sweep.failed", sweep=sweep.__name__)
            else:
                metric.swept(sweep.__name__, swept.taken)
                if swept.healed:
                    log.warning("sweep.healed", sweep=sweep.__name__, count=swept.healed)
                has_more |= swept.taken >= BATCH
                if sweep in retention and not swept.taken:
                    self._forget_again_at[sweep.__name__] = time.monotonic() + _FORGET_EVERY_SECONDS
        return has_more

    def queue_again_after_flush(self) -> Swept:
        """Make all queued rows due when the broker has lost its data, which shows in a missing epoch key."""
        try:
            if not self._broker.set(EPOCH_KEY, str(time.time()), nx=True):
                return Swept()
        except RedisError:
            return Swept()
        with statement(self._engine) as conn:
            return Swept.healing(steps.queue_again(conn))

    def attend_approvals(self) -> Swept:
        """Expire approvals, warn before they expire, and store the outcome of decisions that need no arm."""
        return Swept(approval_sweep.attend(self._worker, limit=BATCH))

    def fire_schedules(self) -> Swept:
        """Start the tasks of schedules whose time has come, and those that waited for an earlier task to end."""
        return Swept(self._schedules.attend(limit=BATCH))

    def end_past_deadline(self) -> Swept:
        """End tasks whose deadline has passed."""
        with statement(self._engine) as conn:
            late = tasks.past_deadline(conn, limit=BATCH)
        ended = [ending.end_at_deadline(self._engine, task_id) for task_id in late]
        for task in ended:
            if task is not None:
                report_end(self._hints, task)
        return Swept(sum(task is not None for task in ended))

    def expire_leases(self) -> Swept:
        """Take back rows whose lease expired, except just after Postgres or this sweeper started.

        Owners could not renew their leases while Postgres was away. A row whose effect has begun is not queued again: a
        person is asked what became of it.
        """
        with statement(self._engine) as conn:
            late = steps.expired(conn, limit=BATCH)
            if not late or self._is_too_soon(steps.postgres_up_seconds(conn)):
                return Swept()
        return Swept.healing(sum(self._expire_lease(step_id, task_id) for step_id, task_id in late))

    def _expire_lease(self, step_id: str, task_id: str) -> bool:
        row = requeue.expire_lease(self._engine, step_id, task_id=task_id)
        if row is None:
            return ask_about(self._worker, Loss(step_id, task_id, reason="lease_expired"))
        metric.lease_expired()
        self._hints.send(row.task_id)
        log.warning("lease.expired", task_id=row.task_id, step=row.name, attempt=row.attempt, owner=row.owner)
        return True

    def promote_followers(self) -> Swept:
        """Let a coalesced task run when the task that it waits for has ended without a result for it."""
        with statement(self._engine) as conn:
            leaders = coalescing.find_ended_leaders(conn, limit=BATCH)
        return Swept.healing(sum(ending.settle_leaderless(self._engine, leader) for leader in leaders))

    def give_up_poison(self) -> Swept:
        """Fail rows whose worker died too often while it ran them."""
        with statement(self._engine) as conn:
            ids = steps.poisoned(conn, poison_step=self._settings.poison_step, limit=BATCH)
        given_up = 0
        for step_id in ids:
            try:
                claim = claim_row(self._worker, step_id, poison_step=_UNLIMITED_KILLS)
            except Ignore:
                continue
            log.error("step.poison", task_id=claim.task_id, step=claim.name, kills=claim.kills)
            give_up(
                app,
                claim,
                code="poison_step",
                message=f"Its worker died {claim.kills} times while running it; it is not tried again.",
            )
            given_up += 1
        return Swept(given_up)

    def give_up_out_of_reach(self) -> Swept:
        """Fail steps whose arm has only workers without a sandbox; they would wait until their deadline."""
        with statement(self._engine) as conn:
            late = steps.out_of_reach(conn, patience_seconds=pools.ALIVE_WITHIN_SECONDS, limit=BATCH)
        given_up = 0
        for step_id, reason in late:
            try:
                claim = claim_row(self._worker, step_id)
            except Ignore:
                continue
            log.error("step.out_of_reach", task_id=claim.task_id, step=claim.name, reason=reason)
            give_up(app, claim, code=SandboxUnavailable.code, message=reason)
            given_up += 1
        return Swept(given_up)

    def publish_due(self) -> Swept:
        """Publish queued rows that are due: retries whose time has come, and rows whose message is lost."""
        with statement(self._engine) as conn:
            backlog = steps.backlog(conn, poison_step=self._settings.poison_step)
        if not backlog:
            return Swept()
        missing = self._count_missing(backlog)
        with statement(self._engine) as conn:
            messages, overdue = steps.take_due(
                conn,
                missing=missing,
                redispatch_seconds=self._settings.redispatch_seconds,
                poison_step=self._settings.poison_step,
                limit=BATCH,
            )
        canvas.publish(self._worker.app, messages)
        return Swept(len(messages), overdue)

    def _count_missing(self, backlog: Sequence[Backlog]) -> dict[str, int]:
        """Return, for each queue with overdue rows, how many messages fewer it has than rows that were sent."""
        late = {queue.queue: queue.sent for queue in backlog if queue.overdue}
        try:
            waiting = transport.count_waiting(self._broker, late)
        except RedisError as error:
            log.warning("sweep.backlog_unknown", fault=fault_of(error))
            return late
        return {queue: max(0, sent - waiting[queue]) for queue, sent in late.items()}

    def fire_ready(self) -> Swept:
        """Publish the bodies of ready chords that were not published yet."""
        backend: Any = self._worker.app.backend
        fired: int = backend.fire_ready(BATCH)
        return Swept.healing(fired)

    def forget_dead_pools(self) -> Swept:
        """Delete the rows of worker pools that died long ago."""
        with statement(self._engine) as conn:
            return Swept(pools.forget_dead(conn))

    def publish_webhooks(self) -> Swept:
        """Publish webhook deliveries that are due, first ones included."""
        with statement(self._engine) as conn:
            tickets = webhooks.take_due(conn, lease_seconds=webhook.LEASE_SECONDS, limit=BATCH)
        canvas.publish_webhooks(self._worker.app, tickets)
        return Swept(len(tickets))

    def forget_submissions(self) -> Swept:
        """Delete expired idempotency keys."""
        with statement(self._engine) as conn:
            return Swept(submissions.forget_expired(conn, limit=BATCH))

    def forget_arms(self) -> Swept:
        """Delete registered arms that ended a day ago and that no open task names."""
        with statement(self._engine) as conn:
            return Swept(registered_arms.forget(conn, after_seconds=_ARMS_KEPT_SECONDS, limit=BATCH))

    def forget_old(self) -> Swept:
        """Delete what is older than RETENTION_DAYS, and entries of the audit log older than AUDIT_RETENTION_DAYS.

        Each statement deletes one batch.
        """
        days = self._settings.retention_days
        with transaction(self._engine) as conn:
            forgotten = retention.forget_tasks(conn, days=days, limit=BATCH)
        with statement(self._engine) as conn:
            files = retention.forget_artifacts(conn, days=days, limit=BATCH)
        with statement(self._engine) as conn:
            entries = audit_log.forget(conn, days=self._settings.audit_retention_days, limit=BATCH)
        with statement(self._engine) as conn:
            facts = schedules.forget_events(conn, days=days, limit=BATCH)
        # each has its own batch: their sum does not show whether one was full
        return Swept(max(forgotten, files, entries, facts))

    def _is_due(self, retention: str) -> bool:
        return time.monotonic() >= self._forget_again_at.get(retention, 0.0)

    def _is_too_soon(self, postgres_up_seconds: float) -> bool:
        lease = self._settings.lease_seconds
        return postgres_up_seconds < lease or time.monotonic() - self._connected_at < lease


def main() -> None:
    """Sweep every SWEEP_SECONDS, without a pause while batches are full, until SIGTERM, SIGINT or SIGQUIT."""
    worker = process.start(app, service="sweeper").process
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: stopped.set())
    bootstrap.refuse_servers(worker.settings, worker.engine)
    process.serve_metrics(worker.settings)
    lean.settle()
    sweeper = Sweeper(worker, open_client(worker.settings.redis_url))
    watchdog = Watchdog(worker.settings.watchdog_seconds)
    watchdog.start()
    watchdog.beat()
    log.info("sweeper.started", every_seconds=worker.settings.sweep_seconds)

    def sweep() -> None:
        has_more = True
        while has_more and not stopped.is_set():
            has_more = sweeper.tick()
            metric.sweep_ended()

    every = worker.settings.sweep_seconds
    Loop(
        "sweeper",
        sweep,
        pace=Pace(every, longest_pause_seconds=every),
        failed=metric.thread_failed,
        stopped=stopped,
    ).run()
    tracing.close()
    log.info("sweeper.stopped")


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"python -m workers.sweeper: {error.message}")

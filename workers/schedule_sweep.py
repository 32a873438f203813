"""The sweeper's work on schedules: fires those that are due, and those that waited for an earlier task to end."""

from collections.abc import Callable
from functools import partial

import structlog

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import is_away, statement
from orchestrator.lifecycle.backpressure import Backpressure
from orchestrator.lifecycle.schedule_fires import Fired, Firing
from orchestrator.memory import schedules
from orchestrator.memory.schedules import ScheduleRecord
from orchestrator.observability import metric
from orchestrator.orchestrator import report_end
from orchestrator.queue import canvas

log = structlog.get_logger(__name__)


class ScheduleSweep:
    """Fires the schedules of all tenants; any number of sweepers may do it at once."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._room = Backpressure(worker.engine, settings=worker.settings)
        self._firing = Firing(
            worker.engine,
            worker.settings,
            require_room=self._room.require_room,
            report=lambda ended: report_end(worker.hints, ended),
        )

    def attend(self, *, limit: int) -> int:
        """Fire at most `limit` schedules that are due, and as many that waited; return how many were found."""
        with statement(self._worker.engine) as conn:
            due = schedules.due(conn, limit=limit)
            ready = schedules.ready(conn, limit=limit)
        for schedule in due:
            if not self._tried(schedule, partial(self._firing.fire_due, schedule)):
                self._tried(
                    schedule, partial(self._firing.skip_due, schedule, detail="See the sweeper's log.")
                )
        for schedule, scheduled_at in ready:
            self._tried(schedule, partial(self._firing.fire_waiting, schedule, scheduled_at))
        return max(len(due), len(ready))

    def _tried(self, schedule: ScheduleRecord, fire: Callable[[], Fired]) -> bool:
        """Fire and report it; False if it failed unexpectedly, which must not hold up the schedules behind it."""
        try:
            fired = fire()
        except Exception as error:
            if is_away(error):
                raise
            log.exception("schedule.not_fired", schedule_id=schedule.id)
            return False
        canvas.publish(self._worker.app, fired.messages)
        if fired.messages:
            self._room.add(schedule.tenant)
        if (event := fired.event) is not None:
            metric.schedule_fired(fired.outcome)
            log.info(
                f"schedule.{fired.outcome}",
                schedule_id=schedule.id,
                task_id=event.task_id,
                reason=event.reason,
            )
        return True

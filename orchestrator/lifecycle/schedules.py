"""Creates and changes schedules for their tenant, and asks for times of the past."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from orchestrator.chord.database import statement
from orchestrator.lifecycle import schedule_times
from orchestrator.lifecycle.schedule_fires import in_contract
from orchestrator.lifecycle.submission import find_attachments, plan_without_model, require_legal
from orchestrator.memory import keys, schedules
from orchestrator.memory.schedules import ScheduleRecord, ScheduleValues
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import Caller
from orchestrator.models.errors import (
    Forbidden,
    InvalidInput,
    InvalidOperation,
    NotFound,
    TenantLimit,
)
from orchestrator.models.ids import is_schedule_id, new_schedule_id
from orchestrator.models.schedule import MAX_WAITING, Overlap, Timing
from orchestrator.models.task_contract import Contract
from orchestrator.settings import Settings

_RETRY_AFTER_SECONDS = 3600
_RHYTHM = ("cron", "tz", "every_seconds")
_TIMES = ("jitter_seconds", "starts_at", "ends_at")


@dataclass(frozen=True)
class Schedules:
    """The schedules of the caller's tenant; `is_own_token`: this service signed the caller's token, not another one."""

    engine: Engine
    settings: Settings
    caller: Caller
    is_own_token: bool = False

    def create(self, given: dict[str, Any]) -> ScheduleRecord:
        """Save a schedule of a contract; `given` has the members of a ScheduleRecord that a client sets, and `paused`.

        Raises InvalidInput for times that can't be read or never come and whatever a submission of the contract is
        refused for, InvalidOperation if the name is taken, TenantLimit, and Forbidden if the caller has no API key.
        """
        has_key = self._require_key()
        with self._statement() as conn:
            now = schedules.clock(conn)
        schedule_id = new_schedule_id()
        timing = _timing(given, now)
        contract = self._checked(given["contract"]).to_record()
        members = {**given, "has_key": has_key, "contract": contract}
        values = self._values(schedule_id, members, timing, now=now)
        try:
            with self._statement() as conn:
                made = schedules.create(
                    conn,
                    schedule_id,
                    values,
                    tenant=self.caller.tenant,
                    paused=given["paused"],
                    max_schedules=self.settings.tenant_max_schedules,
                )
        except IntegrityError as error:
            raise _name_taken(error, values.name) from error
        if made is None:
            limit = self.settings.tenant_max_schedules
            raise TenantLimit(
                f"Tenant {self.caller.tenant} has {limit} schedules, as many as it may have: delete one.",
                details={
                    "setting": "TENANT_MAX_SCHEDULES",
                    "limit": limit,
                    "retry_after": _RETRY_AFTER_SECONDS,
                },
            )
        return made

    def change(self, schedule_id: str, given: dict[str, Any]) -> ScheduleRecord:
        """Replace the members in `given`; from now on its tasks have the rights of the caller's key.

        New times count from now: what was missed before is not caught up. Raises like `create`, NotFound, and
        InvalidOperation if someone else changes the schedule at the same time.
        """
        old = self.find(schedule_id)
        if given.keys() & {"cron", "every_seconds"}:
            # another rhythm replaces the old one as a whole
            given = {**dict.fromkeys(_RHYTHM), **given}
        now = _read_at(old)
        merged = {**vars(old), **given, "has_key": self._require_key()}
        is_retimed = bool(given.keys() & {*_RHYTHM, *_TIMES})
        timing = _timing(merged, now) if is_retimed else old.timing
        if "contract" in given:
            merged["contract"] = self._checked(given["contract"]).to_record()
        values = self._values(old.id, merged, timing, now=now)
        if not is_retimed:
            values = replace(values, next_at=old.next_at, due_at=old.due_at)
        try:
            with self._statement() as conn:
                changed = schedules.change(conn, old, values, members=sorted(given))
        except IntegrityError as error:
            raise _name_taken(error, values.name) from error
        return _require_same(changed, old)

    def pause(self, schedule_id: str) -> ScheduleRecord:
        """Pause a schedule; calling twice is safe."""
        old = self.find(schedule_id)
        with self._statement() as conn:
            schedules.pause(conn, self.caller.tenant, old.id, key_id=self._key_id)
        return self.find(schedule_id)

    def resume(self, schedule_id: str) -> ScheduleRecord:
        """End a pause: the next time is the first one from now on, with the rights of the caller's key."""
        old = self.find(schedule_id)
        if old.paused_at is None:
            return old
        has_key = self._require_key()
        times = schedule_times.first(old.id, old.timing, after=_read_at(old))
        with self._statement() as conn:
            resumed = schedules.resume(conn, old, key_id=self._key_id, has_key=has_key, times=times)
        return _require_same(resumed, old)

    def backfill(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> tuple[ScheduleRecord, list[datetime]]:
        """Let the times of the past that have not started a task start one, one after the other; return them.

        Raises InvalidInput for a range of the future, with no time or with more than MAX_BACKFILL, and TenantLimit if
        more than MAX_WAITING times would wait; concurrent calls may pass that limit by their number.
        """
        schedule, times = self._times_between(schedule_id, since, until)
        with self._statement() as conn:
            started = schedules.started_times(conn, schedule.id, times)
            new = [at for at in times if at not in started]
            if new and schedule.waiting + len(new) > MAX_WAITING:
                raise _too_many_waiting(schedule, len(new))
            return schedule, schedules.add_backfill(conn, schedule, new, key_id=self._key_id)

    def backfill_preview(self, schedule_id: str, since: datetime, until: datetime) -> list[datetime]:
        """Return the times that `backfill` would start tasks for. Raises like it."""
        schedule, times = self._times_between(schedule_id, since, until)
        with self._statement() as conn:
            started = schedules.started_times(conn, schedule.id, times)
        return [at for at in times if at not in started]

    def _times_between(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> tuple[ScheduleRecord, list[datetime]]:
        """Return the schedule and its times in a range of the past. Raises InvalidInput."""
        schedule = self.find(schedule_id)
        if until > _read_at(schedule):
            raise InvalidInput.at("to", "must not be in the future")
        if since > until:
            raise InvalidInput.at("from", "must not be after `to`")
        return schedule, schedule_times.times_between(schedule.timing, since, until)

    def find(self, schedule_id: str) -> ScheduleRecord:
        """Return the tenant's schedule. Raises NotFound if there is none, or it is another tenant's."""
        found = None
        if is_schedule_id(schedule_id):
            with self._statement() as conn:
                found = schedules.find(conn, self.caller.tenant, schedule_id)
        if found is None:
            raise NotFound("There is no such schedule; GET /v1/schedules lists them.")
        return found

    @property
    def _key_id(self) -> str:
        return self.caller.key_id or ""

    def _statement(self) -> AbstractContextManager[Connection]:
        return tenant_statement(self.engine, self.caller.tenant)

    def _values(
        self, schedule_id: str, given: dict[str, Any], timing: Timing, *, now: datetime
    ) -> ScheduleValues:
        found = schedule_times.first(schedule_id, timing, after=now)
        next_at, due_at = found or (None, None)
        return ScheduleValues(
            name=given["name"],
            key_id=self._key_id,
            has_key=given["has_key"],
            contract=given["contract"],
            timing=timing,
            overlap=Overlap(given["overlap"]),
            catchup_seconds=given["catchup_seconds"],
            pause_after_failures=given["pause_after_failures"],
            next_at=next_at,
            due_at=due_at,
        )

    def _checked(self, contract: Contract) -> Contract:
        """Return the contract as its tasks will have it. Raises what a submission raises."""
        if contract.deadline is not None:
            message = "a schedule's tasks can't share a deadline: limit each by budget.max_time_seconds"
            raise InvalidInput.at("contract.deadline", message)
        if contract.cache is not None and contract.cache.only_cached:
            raise InvalidInput.at("contract.cache", "a schedule's tasks always run: leave only_cached out")
        tenant = self.caller.tenant
        with in_contract():
            attachments = find_attachments(self.engine, tenant, contract.attachments)
            contract, plan = require_legal(contract, attachments, settings=self.settings, tenant=tenant)
            if plan is None:
                plan_without_model(contract, attachments, settings=self.settings, tenant=tenant)
        return contract

    def _require_key(self) -> bool:
        """Return whether the caller has an API key; an operator who signs tokens needs none.

        Raises Forbidden for the token of an identity provider: nobody could end the schedule by ending the user's
        access.
        """
        # the tenants' role may not read keys
        with statement(self.engine) as conn:
            key = keys.find_key(conn, self.caller.tenant, self._key_id)
        if key is None and not self.is_own_token:
            raise Forbidden(
                "A schedule has the rights of an API key for as long as the key works. This token belongs to none: get "
                "one for an API key from POST /v1/auth/token."
            )
        return key is not None


def times_of(schedule: ScheduleRecord, *, count: int) -> Sequence[datetime]:
    """Return the next `count` times of a schedule, whether it is paused or not."""
    return list(islice(schedule_times.times_after(schedule.timing, _read_at(schedule)), count))


def _timing(given: dict[str, Any], now: datetime) -> Timing:
    """Return the timing that a client describes; raises InvalidInput."""
    starts_at = given["starts_at"]
    timing = Timing(
        anchor_at=starts_at or now,
        **{name: given[name] for name in (*_RHYTHM, *_TIMES)},
    )
    schedule_times.require_times(timing, after=now)
    return timing


def _read_at(schedule: ScheduleRecord) -> datetime:
    if schedule.read_at is None:
        raise RuntimeError(f"{schedule.id} was read without the time")
    return schedule.read_at


def _require_same(changed: ScheduleRecord | None, old: ScheduleRecord) -> ScheduleRecord:
    if changed is None:
        raise InvalidOperation(
            f"The schedule {old.id} fired or was changed at the same time: send the request again."
        )
    return changed


def _too_many_waiting(schedule: ScheduleRecord, more: int) -> TenantLimit:
    return TenantLimit(
        f"{schedule.waiting} times of the schedule {schedule.id} wait for their turn; with these {more} they would be "
        f"more than {MAX_WAITING}: wait until some of them have run.",
        details={"limit": MAX_WAITING, "retry_after": _RETRY_AFTER_SECONDS},
    )


def _name_taken(error: IntegrityError, name: str) -> Exception:
    if "schedules_tenant_name_key" not in str(error.orig):
        return error
    return InvalidOperation(f"The tenant has a schedule of the name {name!r}: choose another name.")

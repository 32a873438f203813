"""Computes a schedule's times: the next ones, how late each fires, and which to fire after an outage.

A cron line has the semantics of Debian's cron (cronsim), with one rule for all lines about daylight saving: a line
whose hour is `*` goes by the real time that passes; any other fires once for each local time that it names. A local
time that a day lacks fires at the first minute after the gap, one that a day has twice fires the first time.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from orchestrator.models.errors import InvalidInput
from orchestrator.models.schedule import (
    MAX_BACKFILL,
    MAX_CRON_CHARACTERS,
    MAX_EVERY_SECONDS,
    MAX_JITTER_SECONDS,
    MAX_TZ_CHARACTERS,
    MIN_EVERY_SECONDS,
    Missed,
    Timing,
)

# a line is only parsed with it
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_CRON: Final = re.compile(r"[0-9A-Za-z*,/#-]{1,100}(?: [0-9A-Za-z*,/#-]{1,100}){4}")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
_MOMENT: Final = timedelta(microseconds=1)
_GAPS_COMPARED: Final = 20


@dataclass(frozen=True)
class Due:
    """What to do about a schedule that is due: which time to fire, which were missed, and when it is due next."""

    fire_at: datetime | None
    missed: Missed | None
    next_at: datetime | None
    due_at: datetime | None


def require_times(timing: Timing, *, after: datetime) -> None:
    """Raise InvalidInput for a timing that can't be read, never fires, or has too much jitter."""
    if (timing.cron is None) == (timing.every_seconds is None):
        raise InvalidInput.at("cron", "give either cron (with tz) or every_seconds")
    if timing.every_seconds is not None:
        _require_interval(timing)
    else:
        _require_cron(timing)
    if not 0 <= timing.jitter_seconds <= MAX_JITTER_SECONDS:
        raise InvalidInput.at("jitter_seconds", f"must be from 0 to {MAX_JITTER_SECONDS}")
    times = list(islice(times_after(timing, after), _GAPS_COMPARED))
    if not times:
        raise InvalidInput.at("ends_at" if timing.ends_at else "cron", "no time is left: it would never fire")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if timing.jitter_seconds and gaps and min(gaps) <= timedelta(seconds=timing.jitter_seconds):
        shortest = int(min(gaps).total_seconds())
        raise InvalidInput.at(
            "jitter_seconds", f"must be less than the shortest time between two fires, {shortest} seconds"
        )


def times_after(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the times after `after`, in UTC and in order; at most 50 years ahead for a cron line."""
    if timing.starts_at is not None:
        after = max(after, timing.starts_at - _MOMENT)
    found = _cron_times(timing, after) if timing.cron is not None else _intervals(timing, after)
    for at in found:
        if timing.ends_at is not None and at > timing.ends_at:
            return
        yield at


def delay(schedule_id: str, at: datetime, *, jitter_seconds: int) -> timedelta:
    """Return how much later than `at` this schedule fires: from 0 to `jitter_seconds`, always the same for one time."""
    if not jitter_seconds:
        return timedelta()
    digest = hashlib.sha256(f"{schedule_id}:{at.timestamp():.0f}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return timedelta(seconds=round(jitter_seconds * share, 3))


def first(schedule_id: str, timing: Timing, *, after: datetime) -> tuple[datetime, datetime] | None:
    """Return the next time after `after` and when it fires; None if no time is left."""
    at = next(times_after(timing, after), None)
    return None if at is None else (at, at + delay(schedule_id, at, jitter_seconds=timing.jitter_seconds))


def decide(schedule_id: str, timing: Timing, *, next_at: datetime, now: datetime, window: timedelta) -> Due:
    """Return what a schedule does at `now`, whose next time was `next_at`: fire the newest due time within `window`.

    Examines as many times as the window and the jitter have, not as many as passed since `next_at`.
    """

    def fires_at(at: datetime) -> datetime:
        return at + delay(schedule_id, at, jitter_seconds=timing.jitter_seconds)

    oldest = now - window
    missed_since: datetime | None = None
    later = times_after(timing, next_at)
    at: datetime | None = next_at
    if fires_at(next_at) < oldest:
        missed_since = next_at
        later = times_after(timing, max(next_at, oldest - timedelta(seconds=timing.jitter_seconds) - _MOMENT))
        at = next(later, None)
    newest: datetime | None = None
    while at is not None and fires_at(at) <= now:
        if newest is not None and missed_since is None:
            missed_since = newest
        newest, at = at, next(later, None)
    if newest is not None and fires_at(newest) < oldest:
        missed_since, newest = missed_since or newest, None
    until = newest or at or now
    return Due(
        fire_at=newest,
        missed=Missed(missed_since, until) if missed_since is not None else None,
        next_at=at,
        due_at=fires_at(at) if at is not None else None,
    )


def times_between(timing: Timing, since: datetime, until: datetime) -> list[datetime]:
    """Return the times from `since` to `until`, also those before the schedule began.

    Raises InvalidInput if there are more than MAX_BACKFILL, or none.
    """
    whole = replace(timing, starts_at=None, ends_at=until)
    found = list(islice(times_after(whole, since - _MOMENT), MAX_BACKFILL + 1))
    if len(found) > MAX_BACKFILL:
        message = f"the range has more than {MAX_BACKFILL} times, the last of them {found[-1].isoformat()}: shorten it"
        raise InvalidInput.at("to", message)
    if not found:
        raise InvalidInput.at("to", "the schedule has no time in this range")
    return found


def _require_interval(timing: Timing) -> None:
    if timing.tz is not None:
        raise InvalidInput.at("tz", "belongs to cron: leave it out with every_seconds")
    if not MIN_EVERY_SECONDS <= (timing.every_seconds or 0) <= MAX_EVERY_SECONDS:
        raise InvalidInput.at("every_seconds", f"must be from {MIN_EVERY_SECONDS} to {MAX_EVERY_SECONDS}")


def _require_cron(timing: Timing) -> None:
    cron = timing.cron or ""
    if timing.tz is None:
        raise InvalidInput.at("tz", "is required with cron: a time zone such as Europe/Berlin or UTC")
    _zone(timing.tz)
    if len(cron) > MAX_CRON_CHARACTERS or not _CRON.fullmatch(cron):
        message = (
            "must be five fields, one space apart, of at most 100 characters: minute, hour, day of the month, month, "
            "day of the week, such as 30 2 * * 1-5"
        )
        raise InvalidInput.at("cron", message)
    try:
        CronSim(cron, _ANY_TIME)
    except (CronSimError, AssertionError) as error:
        said = str(error) or "a part of it can't be combined so"
        raise InvalidInput.at("cron", f"is not a cron line that can be read: {said}") from error


def _zone(name: str) -> tzinfo:
    """Return the time zone. Raises InvalidInput."""
    if name == "UTC":
        return UTC
    if len(name) <= MAX_TZ_CHARACTERS and _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise InvalidInput.at("tz", "is no time zone of the IANA database, such as Europe/Berlin or UTC")


def _intervals(timing: Timing, after: datetime) -> Iterator[datetime]:
    every = timedelta(seconds=timing.every_seconds or MAX_EVERY_SECONDS)
    number = (after - timing.anchor_at) // every + 1
    while True:
        try:
            yield timing.anchor_at + number * every
        except OverflowError:
            return
        number += 1


def _cron_times(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the line's times as instants, each once: cronsim repeats the minute after a gap for each time in it."""
    last = after
    local = after.astimezone(_zone(timing.tz or "UTC"))
    for found in CronSim(_fixed_hours(timing.cron or ""), local):
        at = found.astimezone(UTC)
        if at > last:
            last = at
            yield at


def _fixed_hours(cron: str) -> str:
    """Return the line so that cronsim goes by local times unless the hour is `*`: it does so if no field begins with *.

    A minute `*` is written 0-59 then, and an hour `*/2` is 0-23/2.
    """
    minute, hour, *days = cron.split(" ")
    if hour in ("*", "*/1"):
        return " ".join((minute, "*", *days))
    fixed_minute = f"0-59{minute[1:]}" if minute.startswith("*") else minute
    fixed_hour = f"0-23{hour[1:]}" if hour.startswith("*") else hour
    return " ".join((fixed_minute, fixed_hour, *days))

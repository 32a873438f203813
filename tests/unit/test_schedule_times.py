"""A schedule's times: across daylight saving, after an outage, and how little work a hostile line makes."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from orchestrator.lifecycle import schedule_times
from orchestrator.lifecycle.schedule_times import (
    decide,
    delay,
    first,
    require_times,
    times_after,
    times_between,
)
from orchestrator.models.errors import InvalidInput
from orchestrator.models.schedule import MAX_BACKFILL, Timing

ID = "sched_0000000000000000"
WINDOW = timedelta(minutes=10)


def utc(text: str) -> datetime:
    """The time of `2026-03-29 01:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def line(cron: str, tz: str = "UTC", **more: Any) -> Timing:
    """The timing of a cron line."""
    return Timing(anchor_at=utc("2026-01-01 00:00"), cron=cron, tz=tz, **more)


def every(seconds: int, **more: Any) -> Timing:
    """The timing of an interval."""
    return Timing(anchor_at=utc("2026-01-01 00:00"), every_seconds=seconds, **more)


def local(timing: Timing, after: str, count: int) -> list[str]:
    """The next times as the wall clock shows them."""
    zone = ZoneInfo(timing.tz or "UTC")
    return [f"{at.astimezone(zone):%m-%d %H:%M %z}" for at in islice(times_after(timing, utc(after)), count)]


DAYLIGHT = {
    "Berlin: the hour that a day lacks": (
        line("30 2 * * *", "Europe/Berlin"),
        "2026-03-28 00:00",
        ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"],
    ),
    "Berlin: the hour that a day has twice": (
        line("30 2 * * *", "Europe/Berlin"),
        "2026-10-24 00:00",
        ["10-24 02:30 +0200", "10-25 02:30 +0200", "10-26 02:30 +0100"],
    ),
    "Berlin: made in the second of the two hours": (
        line("30 2 * * *", "Europe/Berlin"),
        "2026-10-25 01:10",
        ["10-26 02:30 +0100", "10-27 02:30 +0100"],
    ),
    "Berlin: several times of the hour that a day lacks become one": (
        line("*/20 2 * * *", "Europe/Berlin"),
        "2026-03-28 23:00",
        ["03-29 03:00 +0200", "03-30 02:00 +0200", "03-30 02:20 +0200"],
    ),
    "Berlin: every second hour": (
        line("0 */2 * * *", "Europe/Berlin"),
        "2026-10-24 21:00",
        ["10-25 00:00 +0200", "10-25 02:00 +0200", "10-25 04:00 +0100"],
    ),
    "Berlin: each hour goes by the time that passes": (
        line("0 * * * *", "Europe/Berlin"),
        "2026-10-24 23:30",
        ["10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"],
    ),
    "New York: the hour that a day lacks": (
        line("15 2 * * *", "America/New_York"),
        "2026-03-07 12:00",
        ["03-08 03:00 -0400", "03-09 02:15 -0400"],
    ),
    "New York: the hour that a day has twice": (
        line("15 1 * * *", "America/New_York"),
        "2026-11-01 00:00",
        ["11-01 01:15 -0400", "11-02 01:15 -0500"],
    ),
    "Lord Howe: the half hour that a day lacks": (
        line("15 2 * * *", "Australia/Lord_Howe"),
        "2026-10-02 12:00",
        ["10-03 02:15 +1030", "10-04 02:30 +1100", "10-05 02:15 +1100"],
    ),
    "Lord Howe: the half hour that a day has twice": (
        line("45 1 * * *", "Australia/Lord_Howe"),
        "2026-04-03 20:00",
        ["04-05 01:45 +1100", "04-06 01:45 +1030"],
    ),
    "Cairo: the midnight that a day lacks": (
        line("0 0 * * *", "Africa/Cairo"),
        "2026-04-22 23:00",
        ["04-24 01:00 +0300", "04-25 00:00 +0300"],
    ),
}


@pytest.mark.parametrize("case", DAYLIGHT)
def test_a_line_fires_once_for_each_local_time(case: str) -> None:
    timing, after, expected = DAYLIGHT[case]

    assert local(timing, after, len(expected)) == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_a_daily_line_fires_once_a_day_in_a_whole_year(zone: str) -> None:
    times = list(islice(times_after(line("30 2 * * *", zone), utc("2026-01-01 00:00")), 365))

    days = [at.astimezone(ZoneInfo(zone)).date() for at in times]
    assert {later - earlier for earlier, later in pairwise(days)} == {timedelta(days=1)}
    assert times == sorted(set(times))


def test_the_times_do_not_depend_on_where_one_begins() -> None:
    timing = line("*/20 1-3 * * *", "Europe/Berlin")
    for begin in (utc("2026-03-28 20:00"), utc("2026-10-24 20:00")):
        whole = list(islice(times_after(timing, begin), 40))

        for number, at in enumerate(whole[:20]):
            assert list(islice(times_after(timing, at), 10)) == whole[number + 1 : number + 11]


def test_an_interval_is_of_the_same_length_across_daylight_saving() -> None:
    times = list(islice(times_after(every(3600), utc("2026-03-29 00:00")), 5))

    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=1)}


def test_no_time_is_before_the_start_or_after_the_end() -> None:
    start, end = utc("2026-02-01 12:00"), utc("2026-02-01 14:00")
    bounds: dict[str, Any] = {"starts_at": start, "ends_at": end}

    by_line = list(times_after(line("0 * * * *", **bounds), utc("2026-01-01 00:00")))
    by_interval = list(
        times_after(Timing(anchor_at=start, every_seconds=3600, **bounds), utc("2026-01-01 00:00"))
    )

    assert by_line == by_interval == [start, start + timedelta(hours=1), end]


REFUSED = {
    "four fields": (line("0 0 * *"), "cron"),
    "seconds": (line("0 0 0 * * *"), "cron"),
    "a minute that is none": (line("60 0 * * *"), "cron"),
    "a name that is none": (line("0 0 * * FOO"), "cron"),
    "no step": (line("*/0 0 * * *"), "cron"),
    "31 February": (line("0 0 31 2 *"), "cron"),
    "a fifth Monday in February on the 30th": (line("0 0 */29 2 1#5"), "cron"),
    "other letters": (line("０ 0 * * *"), "cron"),
    "two lines": (line("0 0 * * *\n0 1 * * *"), "cron"),
    "a long line": (line("0," * 200 + "0 0 * * *"), "cron"),
    "no zone": (Timing(anchor_at=utc("2026-01-01 00:00"), cron="0 0 * * *"), "tz"),
    "an unknown zone": (line("0 0 * * *", "Europe/Atlantis"), "tz"),
    "a part of the world": (line("0 0 * * *", "Europe"), "tz"),
    "a path": (line("0 0 * * *", "../../etc/passwd"), "tz"),
    "a zone for an interval": (every(60, tz="UTC"), "tz"),
    "an interval of seconds": (every(59), "every_seconds"),
    "an interval of years": (every(10**9), "every_seconds"),
    "nothing": (Timing(anchor_at=utc("2026-01-01 00:00")), "cron"),
    "both": (every(60, cron="0 0 * * *", tz="UTC"), "cron"),
    "an end before the next time": (line("0 0 * * *", ends_at=utc("2026-01-01 12:00")), "ends_at"),
    "more jitter than time between": (line("*/10 * * * *", jitter_seconds=600), "jitter_seconds"),
    "too much jitter": (every(86_400, jitter_seconds=7200), "jitter_seconds"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_times_that_can_not_be_are_refused_with_the_member(case: str) -> None:
    timing, member = REFUSED[case]

    with pytest.raises(InvalidInput) as refused:
        require_times(timing, after=utc("2026-01-01 00:00"))

    assert refused.value.details["errors"][0]["field"] == member


@pytest.mark.parametrize(
    "cron", ["0 0 29 2 *", "0 0 */28 2 1#5", "59 23 31 12 0#5", "* * LW 2 6", "0 0 L 2 7L", "0 0 * 2 1#5"]
)
def test_a_line_that_fires_rarely_is_no_more_than_fifty_years_of_work(
    cron: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = 0
    match_day = CronSim.match_day

    def counted(sim: Any, day: Any) -> bool:
        nonlocal days
        days += 1
        return match_day(sim, day)

    monkeypatch.setattr(CronSim, "match_day", counted)

    assert next(times_after(line(cron), utc("2026-03-01 00:00")), None) is not None
    assert days < 51 * 366 * 2


def test_a_delay_belongs_to_the_schedule_and_the_time() -> None:
    times = [utc("2026-01-01 00:00") + timedelta(hours=number) for number in range(200)]

    delays = [delay(ID, at, jitter_seconds=600) for at in times]

    assert delays == [delay(ID, at, jitter_seconds=600) for at in times]
    assert all(timedelta() <= one <= timedelta(seconds=600) for one in delays)
    assert len(set(delays)) > 190
    assert delays != [delay("sched_1", at, jitter_seconds=600) for at in times]
    assert delay(ID, times[0], jitter_seconds=0) == timedelta()
    assert first(ID, every(3600, jitter_seconds=600), after=times[0]) == (times[1], times[1] + delays[1])


def test_a_time_that_has_just_come_fires() -> None:
    at = utc("2026-02-01 12:00")

    due = decide(ID, every(60), next_at=at, now=at + timedelta(seconds=1), window=WINDOW)

    assert (due.fire_at, due.missed) == (at, None)
    assert due.next_at == due.due_at == at + timedelta(minutes=1)


def test_after_an_outage_within_the_window_only_the_newest_time_fires() -> None:
    at = utc("2026-02-01 12:00")

    due = decide(ID, every(60), next_at=at, now=at + timedelta(minutes=5, seconds=1), window=WINDOW)

    assert due.fire_at == at + timedelta(minutes=5)
    assert due.missed is not None
    assert (due.missed.since, due.missed.until) == (at, at + timedelta(minutes=5))
    assert due.next_at == at + timedelta(minutes=6)


def test_after_a_longer_outage_nothing_fires_but_the_next_time_is_known() -> None:
    at = utc("2026-02-01 12:00")

    due = decide(ID, line("0 12 * * *"), next_at=at, now=at + timedelta(days=3, hours=1), window=WINDOW)

    assert due.fire_at is None
    assert due.missed is not None
    assert (due.missed.since, due.missed.until) == (at, utc("2026-02-05 12:00"))
    assert due.next_at == utc("2026-02-05 12:00")


def test_after_a_year_no_more_times_are_computed_than_the_window_has(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0

    def counted(timing: Timing, after: datetime) -> Any:
        nonlocal computed
        for at in times_after(timing, after):
            computed += 1
            yield at

    monkeypatch.setattr(schedule_times, "times_after", counted)
    at = utc("2025-01-01 00:00")

    due = decide(ID, line("* * * * *"), next_at=at, now=at + timedelta(days=365), window=WINDOW)

    assert due.fire_at == at + timedelta(days=365)
    assert computed < 20


def test_a_time_with_jitter_waits_for_it_and_is_not_missed_meanwhile() -> None:
    timing = every(600, jitter_seconds=500)
    at = utc("2026-02-01 12:00")
    due_at = at + delay(ID, at, jitter_seconds=500)

    early = decide(ID, timing, next_at=at, now=due_at - timedelta(seconds=1), window=timedelta(minutes=1))
    late = decide(ID, timing, next_at=at, now=due_at + timedelta(seconds=1), window=timedelta(minutes=1))

    assert (early.fire_at, early.next_at, early.due_at, early.missed) == (None, at, due_at, None)
    assert (late.fire_at, late.missed) == (at, None)


def test_the_last_time_leaves_none() -> None:
    at = utc("2026-02-01 12:00")

    due = decide(ID, every(60, ends_at=at), next_at=at, now=at, window=WINDOW)

    assert (due.fire_at, due.next_at, due.due_at) == (at, None, None)


def test_a_range_of_the_past_has_both_its_ends_and_a_bounded_number_of_times() -> None:
    hourly = line("0 * * * *", starts_at=utc("2030-01-01 00:00"))
    begin = utc("2025-06-01 00:00")

    assert times_between(hourly, begin, begin + timedelta(hours=2)) == [
        begin + timedelta(hours=number) for number in range(3)
    ]
    assert len(times_between(every(60), begin, begin + timedelta(minutes=MAX_BACKFILL - 1))) == MAX_BACKFILL
    with pytest.raises(InvalidInput, match="more than 100 times"):
        times_between(every(60), begin, begin + timedelta(days=3650))
    with pytest.raises(InvalidInput, match="no time in this range"):
        times_between(hourly, begin + timedelta(seconds=1), begin + timedelta(seconds=2))

"""What a schedule is made of: its times, and what happens when its earlier task has not ended."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

MIN_EVERY_SECONDS: Final = 60
MAX_EVERY_SECONDS: Final = 366 * 86_400
DEFAULT_CATCHUP_SECONDS: Final = 600
MIN_CATCHUP_SECONDS: Final = 60
MAX_CATCHUP_SECONDS: Final = 86_400
MAX_JITTER_SECONDS: Final = 3_600
MAX_CRON_CHARACTERS: Final = 100
MAX_TZ_CHARACTERS: Final = 64
MAX_NAME_CHARACTERS: Final = 100
MAX_PAUSE_AFTER_FAILURES: Final = 100
MAX_BACKFILL: Final = 100
MAX_WAITING: Final = 1_000
"""The most times of a schedule that wait for their turn."""
MAX_NEXT: Final = 100


class Overlap(StrEnum):
    """What a time of a schedule does while an earlier task of the schedule is open.

    skip: nothing. queue_one: it starts after that task, but only one waits. cancel_other: the earlier task is
    cancelled. allow: both run.
    """

    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_OTHER = "cancel_other"
    ALLOW = "allow"


class FireKind(StrEnum):
    """Why a schedule fires: its time has come, a time of its waits for an open task, or someone asked."""

    SCHEDULED = "scheduled"
    WAITING = "waiting"
    TRIGGER = "trigger"


@dataclass(frozen=True)
class Timing:
    """When a schedule fires: at the times of a five-field `cron` line in the time zone `tz`, or every so many seconds.

    The seconds are counted from `anchor_at`. No time is before `starts_at` or after `ends_at`. Each time fires up to
    `jitter_seconds` later, by an amount that depends on the schedule and the time only.
    """

    anchor_at: datetime
    cron: str | None = None
    tz: str | None = None
    every_seconds: int | None = None
    jitter_seconds: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True)
class Missed:
    """Times that passed without a fire: from the first one until before `until`."""

    since: datetime
    until: datetime

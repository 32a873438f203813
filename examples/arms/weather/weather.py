"""The actions of the example arm `weather`. It asks no service: the numbers come from a table of climate means."""

import csv
import io
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import Field

from orchestrator.sdk import Context, Failed, action

# warmest and coldest monthly mean in degrees Celsius, share of wet days; the warmest month is July in the north
CLIMATE = {
    "berlin": (20.0, 1.0, 0.45),
    "lisbon": (23.5, 11.5, 0.30),
    "nairobi": (20.5, 16.5, 0.35),
    "reykjavik": (11.5, 0.5, 0.60),
    "sydney": (13.0, 23.5, 0.33),
}


@dataclass
class Day:
    """One day; `on` is its date, `celsius` the mean temperature, `wet` the chance of rain or snow (0 to 1)."""

    on: date
    celsius: float
    wet: float


@dataclass
class Forecast:
    """The days of a city, and one line about them."""

    city: str
    summary: str
    days: list[Day]


@action(effects="read", max_age_seconds=3600, capabilities=["weather"])
def forecast(
    city: str,
    days: Annotated[int, Field(ge=1, le=14)] = 3,
    start: date | None = None,
    *,
    context: Context,
) -> Forecast:
    """Say how warm and how wet it usually is in a city on the next days.

    Args:
        city: its English name
        days: how many days
        start: the first day; today if it is left out
    """
    climate = CLIMATE.get(city.strip().lower())
    if climate is None:
        known = ", ".join(sorted(name.title() for name in CLIMATE))
        raise Failed("unknown_city", f"The table has no city {city[:100]!r}; it has {known}.")
    first = start or datetime.now(UTC).date()
    found = []
    for number in range(days):
        found.append(_usual(first + timedelta(days=number), *climate))
        context.progress(100 * (number + 1) / days, f"day {number + 1} of {days}")
    warmest = max(day.celsius for day in found)
    return Forecast(city, f"{city}: up to {warmest:g} °C in {days} days", found)


@action(effects="none", max_age_seconds=0)
def table(days: list[Day], *, context: Context) -> str:
    """Store days as a CSV file and return the file's id.

    Args:
        days: the days of a forecast
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["day", "celsius", "wet"])
    writer.writerows([day.on, day.celsius, day.wet] for day in days)
    return context.save_file("forecast.csv", text.getvalue(), "text/csv")


def _usual(on: date, july: float, january: float, wet: float) -> Day:
    """Return a day's usual values: a cosine through the year between the two extremes."""
    share = (1 + math.cos(2 * math.pi * (on.timetuple().tm_yday - 200) / 365)) / 2
    return Day(on, round(january + (july - january) * share, 1), wet)

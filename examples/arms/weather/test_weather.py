"""The actions of the arm are ordinary functions: the tests call them."""

from datetime import date

import pytest
from weather import Day, forecast, table

from orchestrator.sdk import Failed, LocalContext


def test_july_is_warm_in_the_north_and_cold_in_the_south() -> None:
    days = [
        forecast(city, 1, date(2026, 7, 19), context=LocalContext()).days[0] for city in ("Berlin", "Sydney")
    ]

    assert [day.celsius for day in days] == [20.0, 13.0]


def test_each_day_is_reported() -> None:
    context = LocalContext()

    forecast("Lisbon", 2, context=context)

    assert context.reports == [(50.0, "day 1 of 2"), (100.0, "day 2 of 2")]


def test_an_unknown_city_is_an_error_of_its_own() -> None:
    with pytest.raises(Failed, match="it has Berlin") as failed:
        forecast("Atlantis", context=LocalContext())

    assert failed.value.code == "unknown_city"


def test_days_become_a_file() -> None:
    context = LocalContext()

    table([Day(date(2026, 7, 19), 20.0, 0.45)], context=context)

    assert context.saved["forecast.csv"].decode().splitlines()[1] == "2026-07-19,20.0,0.45"

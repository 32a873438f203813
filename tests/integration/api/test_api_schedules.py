"""The endpoints of /v1/schedules."""

from typing import Any

import pytest

from tests.integration.api.conftest import Caller
from tests.integration.kit import Engineer, wait_step
from workers.sweeper import Sweeper

BODY: dict[str, Any] = {
    "name": "nightly",
    "contract": {"goal": "do it again", "plan": {"steps": [wait_step("a")]}},
    "cron": "30 2 * * *",
    "tz": "Europe/Berlin",
}


@pytest.fixture
def owner(call: Caller, key_row: str) -> Caller:
    """A caller with all scopes, whose key is in the database."""
    return call


def make(owner: Caller, **members: Any) -> dict[str, Any]:
    """Make a schedule and return it."""
    made = owner("POST", "/v1/schedules", json={**BODY, **members})
    assert made.status_code == 201, made.json
    schedule: dict[str, Any] = made.json
    return schedule


def faults(answer: Any) -> list[str]:
    """The fields that a refusal names."""
    assert answer.status_code in (400, 422), answer.json
    return [fault["field"] for fault in answer.json["details"]["errors"]]


def test_a_schedule_is_made_listed_shown_and_deleted(owner: Caller) -> None:
    made = make(owner, jitter_seconds=60, pause_after_failures=3)

    shown = owner("GET", f"/v1/schedules/{made['schedule_id']}").json
    listed = owner("GET", "/v1/schedules?name=nightly").json["schedules"]
    deleted = owner("DELETE", f"/v1/schedules/{made['schedule_id']}")

    assert shown == made == listed[0]
    assert (made["state"], made["overlap"], made["catchup_window_seconds"]) == ("active", "skip", 600)
    assert made["contract"]["goal"] == "do it again"
    assert made["next_at"] <= made["due_at"]
    assert deleted.status_code == 204
    assert owner("GET", f"/v1/schedules/{made['schedule_id']}").status_code == 404
    assert owner("GET", "/v1/schedules").json == {"schedules": [], "next_cursor": None}


def test_the_sweeper_starts_its_task_and_the_history_links_to_it(
    owner: Caller, engineer: Engineer, sweeper: Sweeper
) -> None:
    schedule_id = make(owner, cron=None, tz=None, every_seconds=60)["schedule_id"]
    engineer.ask("UPDATE schedules SET due_at = now(), next_at = now(), anchor_at = now()")

    sweeper.fire_schedules()

    events = owner("GET", f"/v1/schedules/{schedule_id}/events").json["events"]
    task = owner("GET", f"/v1/tasks/{events[0]['task_id']}").json
    assert [event["type"] for event in events] == ["fire.started", "schedule.created"]
    assert (events[0]["kind"], events[0]["task_status"]) == ("scheduled", "queued")
    assert task["status"] == "queued"

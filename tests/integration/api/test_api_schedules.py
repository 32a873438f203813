"""The endpoints of /v1/schedules."""

from dataclasses import replace
from typing import Any

import jwt
import pytest

from api.middleware import context
from orchestrator.auth.credential import sign_token
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.lifecycle import schedules
from orchestrator.settings import Settings
from tests.integration.api.conftest import AsCaller, Caller, Octollm
from tests.integration.kit import TENANT, Engineer, wait_step
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


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown member of the contract": ({"contract": {"goal": "g", "colour": "red"}}, "contract.colour"),
    "an illegal plan": ({"contract": {"goal": "g", "plan": {"steps": []}}}, "contract.steps"),
    "an unknown file": ({"contract": {"goal": "g", "attachments": ["0" * 64]}}, "contract.attachments"),
    "an unknown recipe": ({"contract": {"goal": "g", "recipe": "ghost"}}, "contract.recipe"),
    "a deadline": ({"contract": {"goal": "g", "deadline": "2099-01-01T00:00:00Z"}}, "contract.deadline"),
    "only a cached result": ({"contract": {"goal": "g", "cache": {"mode": "only_cached"}}}, "contract.cache"),
    "an unknown zone": ({"tz": "Europe/Atlantis"}, "tz"),
    "a line that never fires": ({"cron": "0 0 31 2 *"}, "cron"),
    "two rhythms": ({"every_seconds": 60}, "cron"),
    "an interval below a minute": ({"cron": None, "tz": None, "every_seconds": 5}, "every_seconds"),
    "an end in the past": ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
    "a start at the end of time": ({"starts_at": "9999-12-31T23:59:59Z"}, "starts_at"),
    "an end at its beginning": ({"ends_at": "0001-01-01T00:00:00Z"}, "ends_at"),
    "an unknown overlap": ({"overlap": "maybe"}, "overlap"),
    "a window of a year": ({"catchup_window_seconds": 31_536_000}, "catchup_window_seconds"),
    "a name with a line break": ({"name": "a\nb"}, "name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_schedule_that_could_not_run_is_refused_with_the_member(owner: Caller, case: str) -> None:
    members, field = REFUSED[case]

    answer = owner("POST", "/v1/schedules", json={**BODY, **members})

    assert field in [fault.rpartition(".")[0] or fault for fault in faults(answer)] + faults(answer)
    assert owner("GET", "/v1/schedules").json["schedules"] == []


def test_a_contract_is_screened_before_it_is_stored(owner: Caller, engineer: Engineer) -> None:
    secret = "AKIA" + "Q7ZK3MVTX2LWNB5H"

    made = make(owner, contract={"goal": f"Use {secret} to list the buckets"})

    assert made["contract"]["redacted"]
    assert (
        engineer.ask("SELECT id FROM schedules WHERE contract::text LIKE %(text)s", text=f"%{secret}%") == []
    )


def test_the_scope_for_critical_tasks_is_asked_when_a_schedule_is_made_changed_resumed_or_triggered(
    owner: Caller, as_caller: AsCaller
) -> None:
    critical = {**BODY, "contract": {**BODY["contract"], "priority": "critical"}}
    path = f"/v1/schedules/{make(owner, **critical)['schedule_id']}"
    lesser = as_caller(TENANT, ("task:submit", "task:read"))

    answers = [
        lesser("POST", "/v1/schedules", json={**critical, "name": "mine"}),
        lesser("PATCH", path, json={"cron": "* * * * *", "tz": "UTC"}),
        lesser("POST", f"{path}/resume"),
        lesser("POST", f"{path}/trigger"),
        lesser(
            "POST", f"{path}/backfill", json={"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
        ),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5


def test_a_key_that_may_only_submit_reads_no_contract_of_a_schedule(
    owner: Caller, as_caller: AsCaller
) -> None:
    made = make(owner)
    path = f"/v1/schedules/{made['schedule_id']}"
    submitter = as_caller(TENANT, ("task:submit",))

    answers = [
        submitter("GET", path),
        submitter("PATCH", path, json={}),
        submitter("POST", f"{path}/pause"),
        submitter("POST", f"{path}/resume"),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert owner("GET", path).json == made


def test_a_token_of_an_identity_provider_can_not_schedule(app: Any, settings: Settings) -> None:
    """Nobody could end such a schedule by ending the user's access."""
    token = sign_token(settings, tenant=TENANT, key_id="auth0|17", scopes=("task:submit",))
    claims = jwt.decode(token, options={"verify_signature": False}) | {"sub": "auth0|17"}
    foreign = Caller(app, jwt.encode(claims, settings.jwt_secret, algorithm="HS256"))

    answer = foreign("POST", "/v1/schedules", json=BODY)

    assert answer.status_code == 403
    assert "API key" in answer.json["detail"]


def test_names_are_unique_and_a_tenant_has_a_limited_number(
    owner: Caller, as_caller: AsCaller, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(owner)
    again = owner("POST", "/v1/schedules", json=BODY)
    other = as_caller("umbrella")("POST", "/v1/schedules", json=BODY)
    orchestrator = context.orchestrator_of(app)
    limited = replace(orchestrator.settings, tenant_max_schedules=1)
    monkeypatch.setitem(app.extensions, "octollm", replace(orchestrator, settings=limited))

    one_more = owner("POST", "/v1/schedules", json={**BODY, "name": "another"})

    assert (again.status_code, other.status_code, one_more.status_code) == (409, 201, 429)
    assert one_more.json["details"]["setting"] == "TENANT_MAX_SCHEDULES"


def test_a_change_replaces_members_and_new_times_count_from_now(owner: Caller) -> None:
    made = make(owner)
    path = f"/v1/schedules/{made['schedule_id']}"

    renamed = owner("PATCH", path, json={"name": "weekly", "overlap": "allow"}).json
    hourly = owner("PATCH", path, json={"every_seconds": 3600}).json
    refused = owner("PATCH", path, json={"tz": "Europe/Berlin"})
    events = owner("GET", f"{path}/events?type=schedule.changed").json["events"]

    assert renamed == made | {
        "name": "weekly",
        "overlap": "allow",
        "updated_at": renamed["updated_at"],
    }
    assert (hourly["cron"], hourly["tz"], hourly["every_seconds"]) == (None, None, 3600)
    assert hourly["next_at"] != made["next_at"]
    assert faults(refused) == ["tz"]
    assert [event["data"]["members"] for event in events] == [
        ["cron", "every_seconds", "tz"],
        ["name", "overlap"],
    ]


def test_a_pause_and_its_end_are_events_and_may_be_repeated(owner: Caller) -> None:
    path = f"/v1/schedules/{make(owner)['schedule_id']}"

    paused = [owner("POST", f"{path}/pause").json for _ in range(2)]
    resumed = [owner("POST", f"{path}/resume").json for _ in range(2)]

    assert [one["state"] for one in (*paused, *resumed)] == ["paused", "paused", "active", "active"]
    assert paused[0]["paused_reason"] == "asked"
    types = [event["type"] for event in owner("GET", f"{path}/events").json["events"]]
    assert types == ["schedule.resumed", "schedule.paused", "schedule.created"]


def test_a_trigger_starts_a_task_now_once_for_its_idempotency_key(owner: Caller) -> None:
    made = make(owner, paused=True, overlap="allow")
    path = f"/v1/schedules/{made['schedule_id']}"

    first, again = (owner("POST", f"{path}/trigger", headers={"Idempotency-Key": "today"}) for _ in range(2))
    other = owner("POST", f"{path}/trigger")

    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 202)
    assert first.json == again.json
    assert first.json["type"] == other.json["type"] == "fire.started"
    assert first.json["task_id"] != other.json["task_id"]
    shown = owner("GET", f"/v1/tasks/{first.json['task_id']}").json
    listed = owner("GET", "/v1/tasks").json["tasks"]
    assert shown["schedule_id"] == made["schedule_id"]
    assert shown["scheduled_at"] == first.json["scheduled_at"]
    assert {task["schedule_id"] for task in listed} == {made["schedule_id"]}
    assert owner("GET", path).json["next_at"] == made["next_at"]


def test_a_trigger_that_the_overlap_forbids_says_so(owner: Caller) -> None:
    path = f"/v1/schedules/{make(owner)['schedule_id']}"
    task_id = owner("POST", f"{path}/trigger").json["task_id"]

    skipped = owner("POST", f"{path}/trigger").json

    assert (skipped["type"], skipped["reason"], skipped["task_id"]) == ("fire.skipped", "overlap", None)
    assert task_id in skipped["data"]["detail"]


def test_a_trigger_whose_contract_is_not_legal_any_more_is_refused(owner: Caller, engineer: Engineer) -> None:
    file_id = owner("POST", "/v1/files", data=b"x", content_type="text/plain").json["artifact_id"]
    made = make(owner, contract={**BODY["contract"], "attachments": [file_id]})
    engineer.ask("DELETE FROM artifacts RETURNING sha256")

    answer = owner("POST", f"/v1/schedules/{made['schedule_id']}/trigger")

    assert faults(answer) == ["contract.attachments"]
    assert engineer.ask("SELECT id FROM tasks") == []


def test_a_backfill_is_previewed_and_bounded_and_not_of_the_future(owner: Caller) -> None:
    path = f"/v1/schedules/{make(owner)['schedule_id']}"
    days = {"from": "2026-03-28T00:00:00Z", "to": "2026-03-30T00:00:00Z"}

    previewed = owner("POST", f"{path}/backfill", json={**days, "dry_run": True})
    asked = owner("POST", f"{path}/backfill", json=days)
    again = owner("POST", f"{path}/backfill", json=days)
    long = owner("POST", f"{path}/backfill", json={**days, "from": "2000-01-01T00:00:00Z"})
    ancient = owner("POST", f"{path}/backfill", json={**days, "from": "0001-01-01T00:00:00Z"})
    future = owner("POST", f"{path}/backfill", json={**days, "to": "2999-01-01T00:00:00Z"})

    assert (previewed.status_code, asked.status_code) == (200, 202)
    assert previewed.json["times"] == asked.json["times"]
    assert previewed.json["local_times"] == ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00"]
    assert again.json["times"] == []
    assert owner("GET", path).json["waiting"] == 2
    assert faults(long) == faults(future) == ["to"]
    assert faults(ancient) == ["from"]


def test_the_times_that_wait_have_a_limit(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_WAITING", 30)
    path = f"/v1/schedules/{make(owner, cron=None, tz=None, every_seconds=3600)['schedule_id']}/backfill"
    day, next_day = ({"from": f"2026-01-0{n}T00:00:00Z", "to": f"2026-01-0{n}T23:59:59Z"} for n in (1, 2))

    answers = [owner("POST", path, json=members) for members in (day, day, next_day)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert [len(answer.json["times"]) for answer in answers[:2]] == [24, 0]
    assert answers[2].json["type"].endswith("tenant_limit_exceeded")
    assert "24 times" in answers[2].json["detail"]


def test_the_next_times_are_shown_in_both_zones(owner: Caller) -> None:
    path = f"/v1/schedules/{make(owner)['schedule_id']}"

    answer = owner("GET", f"{path}/next?count=3").json

    assert answer["tz"] == "Europe/Berlin"
    assert all("T02:30" in text or "T03:00" in text for text in answer["local_times"])
    assert len(answer["times"]) == 3
    assert owner("GET", f"{path}/next?count=101").status_code == 422


def test_lists_have_pages(owner: Caller) -> None:
    ids = [make(owner, name=f"s{number}")["schedule_id"] for number in range(3)]
    for _ in range(2):
        owner("POST", f"/v1/schedules/{ids[0]}/pause")
        owner("POST", f"/v1/schedules/{ids[0]}/resume")

    first = owner("GET", "/v1/schedules?limit=2").json
    second = owner("GET", f"/v1/schedules?limit=2&cursor={first['next_cursor']}").json
    newer = owner("GET", f"/v1/schedules/{ids[0]}/events?limit=3").json
    older = owner("GET", f"/v1/schedules/{ids[0]}/events?limit=3&before={newer['next_before']}").json

    assert [one["schedule_id"] for one in (*first["schedules"], *second["schedules"])] == ids[::-1]
    assert second["next_cursor"] is None
    assert len(newer["events"] + older["events"]) == 5
    assert older["next_before"] is None


def test_a_schedule_is_driven_from_the_command_line(octollm: Octollm, engineer: Engineer) -> None:
    made = octollm(
        "schedule", "create", "lines", 'Find "late" in this text', "--cron", "30 6 * * 1-5", "--jitter", "2m"
    )
    schedule_id = made[1].strip()
    shown = octollm("schedule", "show", "lines")[1]
    upcoming = octollm("schedule", "next", "lines", "--count", "2")[1]
    task_id = octollm("schedule", "trigger", schedule_id)[1].strip()
    skipped = octollm("schedule", "trigger", schedule_id)[1]
    changed = octollm("schedule", "change", "lines", "--every", "6h")[1]
    filled = octollm(
        "schedule", "backfill", "lines", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T12:00:00Z"
    )[1]
    paused = octollm("schedule", "pause", "lines")[1]
    resumed = octollm("schedule", "resume", "lines")[1]
    listed = octollm("schedule", "list")[1]
    history = octollm("schedule", "show", "lines")[1]
    deleted = octollm("schedule", "delete", "lines")[1]
    missing = octollm("schedule", "show", "lines")

    assert made[0] == ExitStatus.OK
    for text in (schedule_id, "active", "30 6 * * 1-5 UTC", "overlap skip", "jitter 120 s", "created"):
        assert text in shown
    assert [line[11:] for line in upcoming.splitlines()] == ["06:30+00:00 UTC"] * 2
    assert task_id.startswith("task_")
    assert f"{task_id} has not ended" in skipped
    assert "every 21600 s" in changed
    assert len(filled.splitlines()) == 2
    assert "as asked" in paused
    assert "active" in resumed
    assert schedule_id in listed
    assert f"{task_id} queued" in history
    assert f"{schedule_id} deleted" in deleted
    assert octollm("schedule", "list")[1] == "no schedule\n"
    assert (missing[0] == ExitStatus.OK, "octollm schedule list" in missing[1]) == (False, True)


def test_the_command_line_refuses_what_is_no_span_of_time(octollm: Octollm) -> None:
    status, output = octollm("schedule", "create", "x", "goal", "--every", "soon")

    assert status == 2
    assert "15m" in output

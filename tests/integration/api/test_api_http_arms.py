"""Registering an HTTP arm: who may, where it may run, what is checked, who sees it, and how its life ends."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from api.streaming.hub import hub_of
from orchestrator.auth.credential import SCOPES, arm_secret
from orchestrator.chord.database import statement
from orchestrator.lifecycle.arm_registration import ArmRegistrar
from orchestrator.memory import registered_arms
from orchestrator.memory.registered_arms import RegisteredArms
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import InvalidInput, InvalidPlan
from orchestrator.planner.check import check_plan
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller
from tests.integration.kit import TENANT, Engineer, sent_by, wait_step

URL = "/v1/arms/register"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
LOOK = {"description": "Says how warm it is.", "effects": "read", "input_schema": SCHEMA}
WEATHER = {
    "arm_id": "weather",
    "url": "https://arms.example.com/weather",
    "description": "Says how warm it is somewhere",
    "actions": {"look": LOOK},
}
NO_ADMIN = tuple(scope for scope in SCOPES if scope not in {"arm:admin", "admin"})
EVERYWHERE = {**WEATHER, "for_all": True}


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    """An API whose operator allows HTTP arms on one host."""
    made = create_app(
        replace(settings, arm_allowed_hosts=("arms.example.com",), tenant_max_arms=2, arm_ttl_seconds=60)
    )
    yield made
    hub_of(made).stop()


@pytest.fixture(autouse=True)
def found(engineer: Engineer) -> RegisteredArms:
    """Let look-ups find registered arms, as in the app's own process."""
    found = RegisteredArms(engineer.engine)
    ARMS.attach(found)
    return found


def with_action(**changes: Any) -> dict[str, Any]:
    return {**WEATHER, "actions": {"look": {**LOOK, **changes}}}


def arms_of(as_caller: AsCaller, tenant: str) -> dict[str, Any]:
    return {arm["arm_id"]: arm for arm in as_caller(tenant)("GET", "/v1/arms").json["arms"]}


def test_a_registered_arm_is_the_tenants_alone(as_caller: AsCaller, our_settings: Settings) -> None:
    answer = as_caller(TENANT)("POST", URL, json=WEATHER)

    assert (answer.status_code, answer.json["status"]) == (201, "registered")
    assert answer.json["arm"]["arm_id"] == f"{TENANT}/weather"
    assert answer.json["secret"] == arm_secret(our_settings, f"{TENANT}/weather")
    assert answer.json["heartbeat_seconds"] == 20
    assert f"{TENANT}/weather" in arms_of(as_caller, TENANT)
    assert f"{TENANT}/weather" not in arms_of(as_caller, "umbrella")


def test_repeating_a_registration_replaces_it(as_caller: AsCaller) -> None:
    call = as_caller(TENANT)
    first = call("POST", URL, json=WEATHER)
    second = call("POST", URL, json={**WEATHER, "description": "Says how cold it is somewhere"})

    assert (second.status_code, second.json["status"]) == (200, "updated")
    assert second.json["secret"] == first.json["secret"]
    assert second.json["expires_at"] >= first.json["expires_at"]
    assert "cold" in arms_of(as_caller, TENANT)[f"{TENANT}/weather"]["description"]


def test_an_arm_for_all_tenants_needs_the_scope_arm_admin(as_caller: AsCaller) -> None:
    refused = as_caller(TENANT, NO_ADMIN)("POST", URL, json=EVERYWHERE)
    allowed = as_caller(TENANT)("POST", URL, json=EVERYWHERE)
    other = as_caller("umbrella")("POST", URL, json=EVERYWHERE)

    assert_problem(refused, 403, "insufficient_permissions")
    assert (allowed.status_code, allowed.json["arm"]["arm_id"]) == (201, "weather")
    assert_problem(other, 409, "invalid_operation")
    assert "weather" in arms_of(as_caller, "umbrella")


def test_a_tenant_can_not_have_two_arms_of_one_name(as_caller: AsCaller) -> None:
    call = as_caller(TENANT)
    call("POST", URL, json=WEATHER)

    assert_problem(call("POST", URL, json=EVERYWHERE), 409, "invalid_operation")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**WEATHER, "url": "https://elsewhere.example.com/"}, "url"),
        ({**WEATHER, "url": "http://arms.example.com/"}, "url"),
        ({**WEATHER, "url": "https://arms.example.com:8443/"}, "url"),
        ({**WEATHER, "url": "https://arms.example.com/?a=b"}, "url"),
        ({**WEATHER, "url": "https://127.0.0.1/"}, "url"),
        ({**WEATHER, "url": "https://arms.example.com@evil.com/"}, "url"),
        ({**WEATHER, "arm_id": "coder"}, "arm_id"),
        ({**WEATHER, "arm_id": "guardian"}, "arm_id"),
        ({**WEATHER, "arm_id": "remote"}, "arm_id"),
        ({**WEATHER, "arm_id": "umbrella/weather"}, "arm_id"),
        ({**WEATHER, "arm_id": "x" * 41}, "arm_id"),
        ({**WEATHER, "description": "short"}, "description"),
        ({**WEATHER, "max_concurrent_tasks": 0}, "max_concurrent_tasks"),
        ({**WEATHER, "actions": {}}, "actions"),
        ({**WEATHER, "actions": {f"a{n}": LOOK for n in range(51)}}, "actions"),
        ({**WEATHER, "actions": {"a b": LOOK}}, "actions.a b"),
        ({**WEATHER, "actions": {"look": "x"}}, "actions.look"),
        (with_action(effects="all"), "actions.look.effects"),
        (with_action(tools=["pytest"]), "actions.look.tools"),
        (with_action(attachments="any"), "actions.look.attachments"),
        (with_action(input={"city": "string"}), "actions.look.input"),
        (with_action(input_schema={"type": "array"}), "actions.look.input_schema"),
        (with_action(input_schema={"type": "object", "pattern": "("}), "actions.look.input_schema"),
        (with_action(output_schema={"$ref": "https://x/"}), "actions.look.output_schema"),
        (with_action(report_trusted=True), "actions.look.report_trusted"),
        ({name: WEATHER[name] for name in ("arm_id", "url", "description")}, "actions"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_field(
    as_caller: AsCaller, body: dict[str, Any], field: str
) -> None:
    answer = as_caller(TENANT)("POST", URL, json=body)

    assert_problem(answer, 422, "validation_error")
    assert field in [fault["field"] for fault in answer.json["details"]["errors"]]


def test_http_arms_are_off_where_no_host_is_allowed(engineer: Engineer) -> None:
    assert engineer.settings.arm_allowed_hosts == engineer.settings.arm_local_targets == ()

    with pytest.raises(InvalidInput, match="switched off"):
        ArmRegistrar(engineer.engine, engineer.settings, TENANT, "me").register(WEATHER, for_all=False)


def test_a_tenant_may_register_so_many_arms(as_caller: AsCaller) -> None:
    call = as_caller(TENANT)
    statuses = [call("POST", URL, json={**WEATHER, "arm_id": name}).status_code for name in ("one", "two")]
    third = call("POST", URL, json={**WEATHER, "arm_id": "three"})
    again = call("POST", URL, json={**WEATHER, "arm_id": "one"})

    assert statuses == [201, 201]
    assert_problem(third, 429, "tenant_limit_exceeded")
    assert third.json["details"]["setting"] == "TENANT_MAX_ARMS"
    assert again.status_code == 200


def test_registering_and_deleting_in_turn_ends(as_caller: AsCaller) -> None:
    call = as_caller(TENANT)
    statuses = []
    for number in range(12):
        statuses.append(call("POST", URL, json={**WEATHER, "arm_id": f"arm{number}"}).status_code)
        call("DELETE", f"/v1/arms/arm{number}")

    assert statuses == [201] * 10 + [429] * 2


def test_an_arm_without_heartbeats_becomes_unavailable_and_comes_back(
    as_caller: AsCaller, engineer: Engineer
) -> None:
    call = as_caller(TENANT)
    call("POST", URL, json=WEATHER)
    engineer.ask("UPDATE registered_arms SET expires_at = now() - interval '1 second'")
    expired = arms_of(as_caller, TENANT)[f"{TENANT}/weather"]
    beat = call("POST", "/v1/arms/weather/heartbeat")
    outage = arms_of(as_caller, TENANT)[f"{TENANT}/weather"]["metadata"]["outage"]

    assert (expired["status"], expired["metadata"]["outage"]) == ("unavailable", "it has sent no heartbeat")
    assert (beat.status_code, beat.json["arm_id"]) == (200, f"{TENANT}/weather")
    assert outage is None


def test_another_tenant_can_neither_keep_nor_delete_an_arm(as_caller: AsCaller) -> None:
    as_caller(TENANT)("POST", URL, json=EVERYWHERE)
    other = as_caller("umbrella")

    assert_problem(other("POST", "/v1/arms/weather/heartbeat"), 404, "resource_not_found")
    assert_problem(other("DELETE", "/v1/arms/weather"), 404, "resource_not_found")
    assert as_caller(TENANT)("DELETE", "/v1/arms/weather").json == {"arm_id": "weather", "status": "deleted"}


@pytest.mark.parametrize("name", ["a\x00", "\ud800", "x" * 1_000_000])
def test_a_text_that_can_not_be_an_id_names_no_arm(engineer: Engineer, name: str) -> None:
    """A plan may hold it, and each name that was looked up is kept: 1,000 of 1 MiB took 1 GiB of the API."""
    assert RegisteredArms(engineer.engine).find(name) is None


def test_deleting_an_arm_for_all_tenants_needs_the_scope_arm_admin(as_caller: AsCaller) -> None:
    as_caller(TENANT)("POST", URL, json=EVERYWHERE)
    service = as_caller(TENANT, NO_ADMIN)

    assert_problem(service("DELETE", "/v1/arms/weather"), 403, "insufficient_permissions")
    assert service("POST", "/v1/arms/weather/heartbeat").status_code == 200
    assert "weather" in arms_of(as_caller, "umbrella")


def test_a_deleted_arm_is_gone_for_plans_and_kept_for_its_steps(
    as_caller: AsCaller, engineer: Engineer
) -> None:
    call = as_caller(TENANT)
    call("POST", URL, json=WEATHER)
    call("DELETE", "/v1/arms/weather")
    found = RegisteredArms(engineer.engine)

    assert f"{TENANT}/weather" not in arms_of(as_caller, TENANT)
    assert found.visible(TENANT) == ()
    assert found.find(f"{TENANT}/weather").actions["look"].effects == "read"
    assert not found.find(f"{TENANT}/weather").in_plans
    assert_problem(call("POST", "/v1/arms/weather/heartbeat"), 404, "resource_not_found")
    assert call("POST", URL, json=WEATHER).status_code == 201


def test_an_action_that_is_left_out_is_kept_for_the_steps_that_name_it(
    as_caller: AsCaller, engineer: Engineer
) -> None:
    call = as_caller(TENANT)
    call("POST", URL, json=WEATHER)
    call("POST", URL, json={**WEATHER, "actions": {"peek": LOOK}})
    call("POST", URL, json={**WEATHER, "actions": {"stare": LOOK}})
    found = RegisteredArms(engineer.engine)

    assert [list(arm.actions) for arm in found.visible(TENANT)] == [["stare"]]
    assert set(found.find(f"{TENANT}/weather").actions) == {"look", "peek", "stare"}


def test_a_plan_finds_an_arm_that_was_registered_since_the_list_was_read(
    as_caller: AsCaller, found: RegisteredArms
) -> None:
    assert found.visible(TENANT) == ()
    as_caller(TENANT)("POST", URL, json=WEATHER)
    step = {"id": "a", "arm": "weather", "action": "look", "inputs": {"city": "Bonn"}}

    assert check_plan([step], tenant=TENANT).steps[0].arm == f"{TENANT}/weather"
    with pytest.raises(InvalidPlan, match=r"steps\.0\.arm"):
        check_plan([step], tenant="umbrella")
    with pytest.raises(InvalidPlan, match=r"steps\.0\.arm"):
        check_plan([{**step, "arm": f"{TENANT}/weather"}], tenant="umbrella")


def test_a_found_arm_costs_no_statement_for_a_second(engineer: Engineer, as_caller: AsCaller) -> None:
    as_caller(TENANT)("POST", URL, json=WEATHER)
    found = RegisteredArms(engineer.engine)
    found.find(f"{TENANT}/weather")

    with sent_by(engineer.engine) as statements:
        assert [found.find(f"{TENANT}/weather").name for _ in range(20)] == ["Weather"] * 20
        assert ARMS["coder"].arm_id == "coder"

    assert statements == []


def test_ended_arms_are_deleted_unless_an_open_task_names_them(
    as_caller: AsCaller, engineer: Engineer
) -> None:
    call = as_caller(TENANT)
    call("POST", URL, json={**WEATHER, "arm_id": "used"})
    call("POST", URL, json={**WEATHER, "arm_id": "unused"})
    engineer.ask("UPDATE registered_arms SET expires_at = now() - interval '2 days'")
    engineer.start(wait_step("a"))
    engineer.ask("UPDATE steps SET arm = 'acme/used' WHERE name = 'a'")

    with statement(engineer.engine) as conn:
        count = registered_arms.forget(conn, after_seconds=86_400, limit=10)

    assert count == 1
    assert [row["arm_id"] for row in engineer.ask("SELECT arm_id FROM registered_arms")] == ["acme/used"]

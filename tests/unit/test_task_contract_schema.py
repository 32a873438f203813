"""A request becomes a contract, in either dialect, or each of its faults is reported with its field."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from marshmallow import Schema, ValidationError

import api.app  # noqa: F401  # it imports every body
from api.routes.task_contract import TaskRequestSchema, read_contract
from api.routes.task_lists import TaskListQuerySchema
from api.schemas.fields import UtcDateTime
from api.schemas.requests import RequestSchema, read
from api.schemas.retry import RetryRequestSchema
from orchestrator.cache.exact import key_of, key_parts
from orchestrator.models.errors import InvalidInput
from orchestrator.models.task_contract import Budget, Contract, Criterion, Priority
from tests.plug_in_arms import action, added, plug_in

ARTIFACT = "a" * 64


def contract(**members: Any) -> Contract:
    return read_contract({"goal": "do it", **members}, default_budget=Budget(max_time_seconds=120))


def faulty_fields(**members: Any) -> set[str]:
    with pytest.raises(InvalidInput) as refused:
        contract(**members)
    return {error["field"] for error in refused.value.details["errors"]}


def test_only_the_goal_is_required() -> None:
    assert contract() == Contract(goal="do it", budget=Budget(max_time_seconds=120))


def test_white_space_around_a_goal_is_removed() -> None:
    assert contract(goal="  do it\n").goal == "do it"
    assert contract(goal=" " * 20 + "x" * 10_000).goal == "x" * 10_000


def test_constraints_are_a_list_or_an_object() -> None:
    assert contract(constraints=["short", " in Latin "]).constraints == ["short", "in Latin"]
    assert contract(constraints={"language": "Latin"}).constraints == {"language": "Latin"}


def test_context_is_an_object_or_a_string() -> None:
    assert contract(context={"a": [1]}).context == {"a": [1]}
    assert contract(context=" as it is ").context == " as it is "


def test_a_context_that_looks_like_a_typed_value_is_not_converted() -> None:
    payload = {"__type__": "uuid", "__value__": "zzz"}

    assert contract(context=payload, metadata=payload).to_record()["context"] == payload


@pytest.mark.parametrize("name", ["max_cost_dollars", "max_cost_usd"])
def test_the_cost_limit_has_two_names(name: str) -> None:
    assert contract(budget={name: 0.3}).budget.max_cost_dollars == Decimal("0.3")


def test_both_names_of_the_cost_limit_must_have_the_same_value() -> None:
    agreed = contract(budget={"max_cost_dollars": 2, "max_cost_usd": 2.0})

    assert agreed.budget.max_cost_dollars == 2
    assert faulty_fields(budget={"max_cost_dollars": 1, "max_cost_usd": 2}) == {"budget.max_cost_usd"}


def test_missing_members_of_a_budget_have_their_defaults() -> None:
    assert contract(budget={"max_retries": 0}).budget == Budget(max_time_seconds=120, max_retries=0)


def test_null_means_absent() -> None:
    nothing = dict.fromkeys(set(TaskRequestSchema().fields) - {"goal"})

    assert contract(**nothing) == contract()
    assert contract(budget={"max_tokens": None}) == contract()


def test_null_means_absent_in_every_body() -> None:
    bodies = [schema for schema in _kinds(RequestSchema) if schema.__module__.startswith("api.")]

    assert {RetryRequestSchema, TaskRequestSchema} <= set(bodies)
    for schema in bodies:
        nothing = {field.data_key or name: None for name, field in schema().fields.items()}
        assert _loaded(schema, nothing) == _loaded(schema, {}), schema.__name__


def _kinds(schema: type[Schema]) -> Iterator[type[Schema]]:
    for kind in schema.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _loaded(schema: type[Schema], members: dict[str, None]) -> Any:
    try:
        return schema().load(members)
    except ValidationError as error:
        return error.messages


def test_a_criterion_is_a_text_or_a_text_with_a_check() -> None:
    rule = {"all_steps_done": True}

    given = contract(acceptance_criteria=["is short", {"text": "all ran", "check": rule}, {"text": "good"}])

    assert given.acceptance_criteria == (Criterion("is short"), Criterion("all ran", rule), Criterion("good"))


def test_repeated_attachments_are_removed() -> None:
    assert contract(attachments=[ARTIFACT, "b" * 64, ARTIFACT]).attachments == (ARTIFACT, "b" * 64)


def test_a_plan_may_be_the_list_of_its_steps() -> None:
    assert contract(plan=[{"id": "a"}]).plan == contract(plan={"steps": [{"id": "a"}]}).plan


def test_a_contract_equals_its_stored_record() -> None:
    full = contract(
        constraints={"a": 1},
        acceptance_criteria=[{"text": "x", "check": {"all_steps_done": True}}],
        attachments=[ARTIFACT],
        budget={"max_cost_usd": 0.07},
        priority="critical",
        deadline=(datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        output_schema={"type": "object"},
    )

    assert Contract.from_record(full.to_record()) == full
    assert full.priority is Priority.CRITICAL


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"goal": ""}, "goal"),
        ({"goal": "   "}, "goal"),
        ({"goal": None}, "goal"),
        ({"goal": 7}, "goal"),
        ({"goal": ["x"]}, "goal"),
        ({"goal": "x" * 10_001}, "goal"),
        ({"swarm": {"size": 3}}, "swarm"),
        ({"callback_url": "https://example.com/" + "x" * 2048}, "callback_url"),
        ({"constraints": "short"}, "constraints"),
        ({"constraints": [1]}, "constraints"),
        ({"constraints": [""]}, "constraints"),
        ({"constraints": ["x"] * 21}, "constraints"),
        ({"constraints": {"a": "x" * 20_000}}, "constraints"),
        ({"acceptance_criteria": "good"}, "acceptance_criteria"),
        ({"acceptance_criteria": ["x"] * 21}, "acceptance_criteria"),
        ({"acceptance_criteria": ["ok", {"check": {"all_steps_done": True}}]}, "acceptance_criteria.1"),
        ({"acceptance_criteria": [{"text": "x", "check": {"step": 1}}]}, "acceptance_criteria.0.check"),
        ({"acceptance_criteria": [{"text": "x", "weight": 1}]}, "acceptance_criteria.0.weight"),
        ({"context": 5}, "context"),
        ({"context": [1]}, "context"),
        ({"context": "x" * 50_001}, "context"),
        ({"context": {"a": "ä" * 33_000}}, "context"),
        ({"attachments": ["A" * 64]}, "attachments.0"),
        ({"attachments": ["a" * 64 + "\n"]}, "attachments.0"),
        ({"attachments": [ARTIFACT] * 21}, "attachments"),
        ({"budget": 5}, "budget"),
        ({"budget": {"max_tokens": 0}}, "budget.max_tokens"),
        ({"budget": {"max_tokens": "100"}}, "budget.max_tokens"),
        ({"budget": {"max_tokens": 1.5}}, "budget.max_tokens"),
        ({"budget": {"max_tokens": True}}, "budget.max_tokens"),
        ({"budget": {"max_time_seconds": 3601}}, "budget.max_time_seconds"),
        ({"budget": {"max_cost_dollars": -1}}, "budget.max_cost_dollars"),
        ({"budget": {"max_cost_dollars": "1"}}, "budget.max_cost_dollars"),
        ({"budget": {"max_cost_dollars": 101}}, "budget.max_cost_dollars"),
        ({"budget": {"max_retries": 11}}, "budget.max_retries"),
        ({"budget": {"max_repairs": -1}}, "budget.max_repairs"),
        ({"budget": {"max_replans": 4}}, "budget.max_replans"),
        ({"budget": {"max_fun": 1}}, "budget.max_fun"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": {}}, "priority"),
        ({"priority": []}, "priority"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"a": "x" * 17_000}}, "metadata"),
        ({"deadline": "tomorrow"}, "deadline"),
        ({"deadline": 1}, "deadline"),
        ({"deadline": "2999-01-01T00:00:00"}, "deadline"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "deadline"),
        ({"deadline": "0001-01-01T00:00:00+23:59"}, "deadline"),
        ({"deadline": "2030-01-01T00:00:00+99:99"}, "deadline"),
        ({"deadline": "9999-12-31T23:59:59-23:59"}, "deadline"),
        ({"output_schema": []}, "output_schema"),
        ({"output_schema": {"type": "thing"}}, "output_schema"),
        ({"output_schema": {"$ref": "http://169.254.169.254/"}}, "output_schema"),
        ({"output_schema": {"pattern": "("}}, "output_schema"),
        ({"plan": "x"}, "plan"),
        ({"plan": 1}, "plan"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_fault_is_reported_with_its_field(members: dict[str, Any], field: str) -> None:
    assert faulty_fields(**members) == {field}


def test_all_faults_are_reported_at_once() -> None:
    found = faulty_fields(goal=" ", priority="x", budget={"max_tokens": 0, "max_fun": 1}, nonsense=1)

    assert found == {"goal", "priority", "budget.max_tokens", "budget.max_fun", "nonsense"}


def test_an_error_does_not_repeat_the_client_s_values() -> None:
    with pytest.raises(InvalidInput) as refused:
        contract(priority="4111 1111 1111 1111", budget={"max_tokens": "sk-secret"})

    assert "4111" not in str(refused.value.details)
    assert "sk-secret" not in str(refused.value.details)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"status": "lost"}, "status"),
        ({"cursor": "task_x"}, "cursor"),
    ],
)
def test_a_list_query_is_validated(query: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(TaskListQuerySchema(), query)

    assert [error["field"] for error in refused.value.details["errors"]] == [field]


def test_a_deadline_may_have_a_lower_case_t_and_z() -> None:
    deadline = UtcDateTime().deserialize("2999-01-01t10:00:00z")

    assert deadline == datetime(2999, 1, 1, 10, tzinfo=UTC)


def test_unused_members_of_octollm_s_contract_are_accepted_and_ignored() -> None:
    given = contract(api_version="v1", schema_version="1.0.0", task_id="task-0b5c1f6e-9d0e-4f7a")

    assert given == contract()


def test_the_contract_s_members_about_arms_are_kept() -> None:
    given = contract(
        parent_task_id="task_0000000000000000",
        assigned_arm="guardian",
        required_capabilities=["lint", "lint", "timer"],
    )
    limited = contract(effects="read")

    assert given.parent_task_id == "task_0000000000000000"
    assert given.assigned_arm == "safety-guardian"
    assert given.required_capabilities == ("lint", "timer")
    assert given.effects == "write"
    assert Contract.from_record(given.to_record()) == given
    assert Contract.from_record(limited.to_record()).effects == "read"


@pytest.mark.parametrize(
    "members",
    [
        {"api_version": 1},
        {"api_version": "v" * 17},
        {"schema_version": ""},
        {"task_id": ["x"]},
        {"task_id": "x" * 65},
        {"parent_task_id": "x y"},
        {"parent_task_id": "x" * 65},
        {"assigned_arm": "planner"},
        {"assigned_arm": "tentacle"},
        {"required_capabilities": "lint"},
        {"effects": "all"},
        {"required_capabilities": ["lint"] * 11},
    ],
)
def test_members_of_octollm_s_contract_have_types_and_limits(members: dict[str, Any]) -> None:
    assert faulty_fields(**members) == set(members)


def test_a_contract_may_name_what_the_tenant_s_own_arms_offer() -> None:
    members = {"goal": "do it", "assigned_arm": "own", "required_capabilities": ["spying"]}

    with added(plug_in("acme/own", action("look", capabilities=["spying"]), tenant="acme")):
        given = read_contract(members, default_budget=Budget(), tenant="acme")
        with pytest.raises(InvalidInput, match="assigned_arm: Not an arm") as refused:
            read_contract(members, default_budget=Budget(), tenant="other")

    assert (given.assigned_arm, given.required_capabilities) == ("acme/own", ("spying",))
    assert "acme" not in refused.value.message


def test_a_limit_on_effects_is_a_part_of_the_cache_key() -> None:
    def key(**members: Any) -> str:
        return key_of(key_parts(contract(**members), tenant="acme", scopes=[], environment="e"))

    assert key(effects="write") == key()
    assert len({key(), key(effects="read"), key(effects="none")}) == 3


def test_an_unknown_capability_is_a_fault() -> None:
    assert faulty_fields(required_capabilities=["telepathy"]) == {"required_capabilities.0"}


def test_at_most_fifty_faults_are_reported_and_each_is_short() -> None:
    members = {"goal": 1, **{f"{number}{'x' * 900}": 1 for number in range(900)}}

    with pytest.raises(InvalidInput, match="and 900 more") as refused:
        read_contract(members, default_budget=Budget())

    assert len(refused.value.details["errors"]) == 50
    assert len(str(refused.value.details)) < 30_000


def test_a_contract_with_too_many_schemas_is_refused() -> None:
    criteria = [{"text": "fits", "check": {"schema": {"properties": {str(n): {} for n in range(200)}}}}] * 6

    with pytest.raises(InvalidInput, match="at most 1000 objects"):
        read_contract({"goal": "x", "acceptance_criteria": criteria}, default_budget=Budget())

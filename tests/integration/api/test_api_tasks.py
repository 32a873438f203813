"""Tasks over HTTP: submit, read, list, trace, cancel."""

from dataclasses import replace
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.middleware import auth, context, task_access
from orchestrator.auth.credential import SCOPES, Principal, sign_token
from orchestrator.lifecycle import backpressure
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_status, assert_time
from tests.integration.api.conftest import Caller
from tests.integration.kit import TENANT, Engineer, sent_by, verdict, wait_step

TYPED = {"__type__": "uuid", "__value__": "zzz"}


def submit(call: Caller, **members: Any) -> str:
    answer = call("POST", "/v1/tasks", json={"goal": "do it", **members})
    assert answer.status_code == 202, answer.get_data(as_text=True)
    return str(answer.json["task_id"])


def test_a_goal_is_accepted_and_can_be_followed(call: Caller) -> None:
    answer = call("POST", "/v1/tasks", json={"goal": "do it"})

    assert answer.status_code == 202
    assert answer.json["status"] == "queued"
    assert answer.headers["Location"] == answer.json["links"]["self"]
    assert_time(answer.json["created_at"])
    for path in answer.json["links"].values():
        assert call("GET", path).status_code == 200


def test_a_submission_is_one_statement_and_two_redis_commands(
    app: Flask, call: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's revocation and the counts of open work are read at most once a second, and not within this test."""
    monkeypatch.setattr(auth, "REVOCATION_SECONDS", 3600)
    monkeypatch.setattr(backpressure, "KEPT_SECONDS", 3600.0)
    plan = {"steps": [wait_step("a")]}
    submit(call, plan=plan)
    engine = context.orchestrator_of(app).engine
    broker = redis.Redis.from_url(settings.redis_url)
    before = broker.info("commandstats")
    with sent_by(engine) as statements:
        submit(call, plan=plan)
    after = broker.info("commandstats")

    assert ["EXECUTE octollm_submit" in text for text in statements] == [True]
    for command in ("evalsha", "lpush"):
        name = f"cmdstat_{command}"
        assert after[name]["calls"] - before[name]["calls"] == 1, command


def test_a_new_task_is_queued_and_names_the_arms_it_waits_for(call: Caller) -> None:
    task_id = submit(call, priority="high")

    status = call("GET", f"/v1/tasks/{task_id}").json

    assert_status(status)
    assert (status["status"], status["phase"], status["priority"]) == ("queued", "accepted", "high")
    assert (status["waiting_for"], status["message"]) == (["planner"], "waiting for arm planner")
    assert status["result"] is status["error"] is status["metadata"] is None


def test_values_that_look_typed_are_returned_unchanged(call: Caller) -> None:
    members = {"goal": '{"__type__": "uuid", "__value__": "zzz"}', "context": TYPED, "metadata": TYPED}

    task_id = submit(call, **members, plan=[{**wait_step("a"), "inputs": {"seconds": 0}}])

    contract = call("GET", f"/v1/tasks/{task_id}/trace").json["contract"]
    assert {name: contract[name] for name in members} == members


def test_any_text_is_returned_unchanged(call: Caller) -> None:
    goal = "😀 \u202eright-to-left %s %(x)s {} \\u0000 '; DROP TABLE tasks; --\t\x7f\u2028 <script>"

    task_id = submit(call, goal=goal, context={goal: [goal, 1.5, -0.0, 2**63, None, True]})

    assert call("GET", f"/v1/tasks/{task_id}").json["goal"] == goal
    contract = call("GET", f"/v1/tasks/{task_id}/trace").json["contract"]
    assert contract["context"] == {goal: [goal, 1.5, 0.0, 2**63, None, True]}


def test_a_distant_deadline_is_accepted(call: Caller) -> None:
    submit(call, deadline="9999-12-30T23:59:59-23:59")


def test_a_task_has_the_published_shape_in_every_state(call: Caller, engineer: Engineer) -> None:
    queued = submit(call)
    processing = engineer.start(wait_step("a"), wait_step("b", "a"))
    engineer.do(processing, "a")
    completed = _judged(engineer, Decision.PASSED)
    failed = _judged(engineer, Decision.FAILED)
    cancelled = engineer.start(wait_step("a"))
    call("DELETE", f"/v1/tasks/{cancelled}")

    statuses = [
        call("GET", f"/v1/tasks/{task_id}").json
        for task_id in (queued, processing, completed, failed, cancelled)
    ]

    for status in statuses:
        assert_status(status)
    names = [status["status"] for status in statuses]
    assert names == ["queued", "processing", "completed", "failed", "cancelled"]


def test_a_status_has_the_number_of_the_event_after_which_it_was_so(
    app: Flask, call: Caller, engineer: Engineer
) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    me = Principal(TENANT, "key", frozenset(SCOPES), "me")
    with app.app_context():
        before = task_access.find_task(me, task_id)
        engineer.do(task_id, "a")
        # an event came after the task was read, and before its steps are
        between = task_access.read_status(before)
    status = call("GET", f"/v1/tasks/{task_id}").json

    assert between == status
    assert status["event_seq"] == len(engineer.events(task_id)) > before.event_seq
    assert [step["status"] for step in status["steps"]] == ["done", "queued"]


def test_progress_counts_the_steps_that_are_done(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    engineer.do(task_id, "a", output={"summary": "a is done"})

    status = call("GET", f"/v1/tasks/{task_id}").json

    progress, (first, second) = status["progress"], status["steps"]
    assert (progress["completed_steps"], progress["total_steps"]) == (1, 2)
    assert progress["current_step"] == "execution"
    assert (first["step_id"], first["status"], first["summary"]) == ("a", "done", "a is done")
    assert (second["step_id"], second["status"], second["depends_on"]) == ("b", "queued", ["a"])
    assert status["waiting_for"] == ["executor"]


def test_a_completed_task_has_its_result_and_usage(call: Caller, engineer: Engineer) -> None:
    task_id = _judged(engineer, Decision.PASSED)

    status = call("GET", f"/v1/tasks/{task_id}").json

    assert status["progress"]["percentage"] == 100
    assert status["result"]["output"] == "it is so"
    assert status["result"]["validation_passed"] is True
    assert status["metadata"]["arms_used"] == ["planner", "executor", "judge"]
    assert status["metadata"]["plan_id"].startswith("plan_")


def test_events_are_numbered_and_readable_from_any_number(call: Caller, engineer: Engineer) -> None:
    task_id = _judged(engineer, Decision.PASSED)

    whole = call("GET", f"/v1/tasks/{task_id}/events").json
    numbers = [event["seq"] for event in whole["events"]]
    pages, after = [], 0
    while page := call("GET", f"/v1/tasks/{task_id}/events?after={after}&limit=2").json["events"]:
        pages += page
        after = page[-1]["seq"]

    assert numbers == list(range(1, len(numbers) + 1))
    assert pages == whole["events"]
    assert whole["events"][0]["type"] == "task.submitted"
    assert whole["events"][-1]["type"] == "task.completed"
    assert set(whole["events"][0]) == {"seq", "timestamp", "type", "data"}
    assert call("GET", f"/v1/tasks/{task_id}/events?after={after}").json["next_after"] == after


def test_a_trace_has_the_decisions_in_order_and_in_pages(call: Caller, engineer: Engineer) -> None:
    task_id = _judged(engineer, Decision.PASSED)

    trace = call("GET", f"/v1/tasks/{task_id}/trace").json
    first = call("GET", f"/v1/tasks/{task_id}/trace?limit=1").json
    rest = call("GET", f"/v1/tasks/{task_id}/trace?after={first['next_after']}").json

    kinds = [decision["kind"] for decision in trace["decisions"]]
    assert {"plan", "route", "attempt", "verdict", "end"} <= set(kinds)
    assert first["decisions"] + rest["decisions"] == trace["decisions"]
    assert trace["steps"][0]["result"]["status"] == "done"
    brief = call("GET", f"/v1/tasks/{task_id}/trace?results=false").json
    assert brief == {**trace, "steps": [{**step, "result": None} for step in trace["steps"]]}


def test_tasks_are_listed_newest_first_in_pages(call: Caller) -> None:
    made = [submit(call) for _ in range(5)]
    call("DELETE", f"/v1/tasks/{made[1]}")

    listed, path = [], "/v1/tasks?limit=2"
    while path:
        page = call("GET", path).json
        listed += [task["task_id"] for task in page["tasks"]]
        path = page["next_cursor"] and f"/v1/tasks?limit=2&cursor={page['next_cursor']}"
    cancelled = call("GET", "/v1/tasks?status=cancelled").json

    assert listed == made[::-1]
    assert [task["task_id"] for task in cancelled["tasks"]] == [made[1]]
    assert cancelled["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000", "status=odd", "cursor=x", "cursor=%00", "limit=%00"]
)
def test_an_invalid_list_query_is_refused(call: Caller, query: str) -> None:
    assert_problem(call("GET", f"/v1/tasks?{query}"), 422, "validation_error")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=99999999999999999999", "limit=0"])
def test_an_invalid_event_cursor_is_refused(call: Caller, query: str) -> None:
    task_id = submit(call)

    assert_problem(call("GET", f"/v1/tasks/{task_id}/events?{query}"), 422, "validation_error")
    assert_problem(call("GET", f"/v1/tasks/{task_id}/trace?{query}"), 422, "validation_error")


@pytest.mark.parametrize("how", ["DELETE", "POST"])
def test_cancel_returns_the_task_and_may_be_repeated(call: Caller, how: str) -> None:
    task_id = submit(call)
    path = f"/v1/tasks/{task_id}" + ("/cancel" if how == "POST" else "")

    first, second = call(how, path), call(how, path)

    assert first.status_code == second.status_code == 200
    assert_status(first.json)
    assert first.json == second.json
    assert first.json["status"] == "cancelled"


def test_the_reason_of_a_cancel_is_stored(call: Caller) -> None:
    task_id = submit(call)

    answer = call("POST", f"/v1/tasks/{task_id}/cancel", json={"reason": "too slow"})

    assert "too slow" in answer.json["error"]["message"]


@pytest.mark.parametrize("body", [{"reason": 5}, {"reason": "x" * 501}, {"why": "x"}])
def test_an_invalid_cancel_body_is_refused_and_cancels_nothing(call: Caller, body: dict[str, Any]) -> None:
    task_id = submit(call)

    assert_problem(call("POST", f"/v1/tasks/{task_id}/cancel", json=body), 422, "validation_error")

    assert call("GET", f"/v1/tasks/{task_id}").json["status"] == "queued"


@pytest.mark.parametrize("decision", [Decision.PASSED, Decision.FAILED])
def test_a_task_that_ended_otherwise_cannot_be_cancelled(
    call: Caller, engineer: Engineer, decision: Decision
) -> None:
    task_id = _judged(engineer, decision)

    assert_problem(call("DELETE", f"/v1/tasks/{task_id}"), 409, "invalid_operation")
    assert_problem(call("POST", f"/v1/tasks/{task_id}/cancel"), 409, "invalid_operation")


def test_a_plan_that_cannot_run_is_refused_with_every_fault(call: Caller, engine: Engine) -> None:
    plan = [wait_step("a", "b"), wait_step("b", "a"), {"id": "c", "arm": "nobody"}]

    problem = assert_problem(
        call("POST", "/v1/tasks", json={"goal": "do it", "plan": plan}), 422, "invalid_plan"
    )

    assert len(problem["details"]["errors"]) >= 2
    assert call("GET", "/v1/tasks").json["tasks"] == []


def test_a_criterion_that_names_an_unknown_step_is_refused_at_submission(call: Caller) -> None:
    ghost = {"text": "It counts", "check": {"step": "ghost", "pointer": "/count", "equals": 1}}
    body = {"goal": "do it", "plan": [wait_step("a")], "acceptance_criteria": [ghost]}

    problem = assert_problem(call("POST", "/v1/tasks", json=body), 422, "invalid_plan")

    fault = problem["details"]["errors"][0]
    assert fault["field"] == "acceptance_criteria.0.check"
    assert "there is no step 'ghost' in the plan; its steps are a" in fault["message"]
    assert call("GET", "/v1/tasks").json["tasks"] == []


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"goal": "Audit this Python package"}, "unplannable", "attach a package"),
        ({"goal": "Write me a sonnet about autumn"}, "unplannable", "OPENAI_BASE_URL"),
        (
            {"goal": "Scan this for secrets", "context": "x", "required_capabilities": ["lint"]},
            "invalid_plan",
            "no step of the plan offers lint",
        ),
        (
            {
                "goal": "Scan this for secrets",
                "context": "x",
                "acceptance_criteria": [{"text": "c", "check": {"step": "ghost", "exists": True}}],
            },
            "invalid_plan",
            "there is no step 'ghost'",
        ),
    ],
)
def test_a_goal_that_cannot_be_planned_is_refused_at_submission(
    settings: Settings, body: dict[str, Any], code: str, message: str
) -> None:
    without_model = create_app(replace(settings, openai_api_key=None))
    call = Caller(without_model, sign_token(settings, tenant="acme", key_id="k", scopes=SCOPES))

    problem = assert_problem(call("POST", "/v1/tasks", json=body), 422, code)

    assert message in problem["message"]
    assert call("GET", "/v1/tasks").json["tasks"] == []


def test_without_a_model_a_goal_that_a_recipe_fits_is_accepted(settings: Settings) -> None:
    without_model = create_app(replace(settings, openai_api_key=None))
    call = Caller(without_model, sign_token(settings, tenant="acme", key_id="k", scopes=SCOPES))
    found = {"text": "found", "check": {"step": "search", "pointer": "/found", "at_least": 1}}

    submit(call, goal='Find "refund" in these documents', context="a refund", acceptance_criteria=[found])


def test_members_of_octollm_s_contract_are_accepted(call: Caller) -> None:
    task_id = submit(
        call,
        api_version="v1",
        schema_version="1.0.0",
        task_id="task-1",
        parent_task_id="task_0000000000000000",
        assigned_arm="executor",
        required_capabilities=["timer"],
        plan=[wait_step("a")],
    )

    contract = call("GET", f"/v1/tasks/{task_id}/trace").json["contract"]
    assert contract["parent_task_id"] == "task_0000000000000000"
    assert (contract["assigned_arm"], contract["required_capabilities"]) == ("executor", ["timer"])


def test_an_unknown_attachment_is_refused(call: Caller) -> None:
    answer = call("POST", "/v1/tasks", json={"goal": "do it", "attachments": ["a" * 64]})

    problem = assert_problem(answer, 422, "validation_error")
    assert problem["details"]["errors"][0]["field"] == "attachments"


@pytest.mark.parametrize(
    "task_id", ["task_0000000000000000", "task_x", "x", "%00", "task_" + "x" * 500, "..%2f"]
)
@pytest.mark.parametrize(
    ("method", "tail"),
    [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/trace")],
)
def test_an_unknown_task_is_not_found(call: Caller, method: str, tail: str, task_id: str) -> None:
    answer = call(method, f"/v1/tasks/{task_id}{tail}")

    assert answer.status_code == 404
    assert answer.json["code"] in {"resource_not_found", "endpoint_not_found"}


def _judged(engineer: Engineer, decision: Decision) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(decision))
    return task_id

"""Steps that killed their workers are listed for their tenant only."""

import json

import pytest

from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.cli.main import main
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.api.live_server import Api
from tests.integration.kit import TENANT, Engineer, failed, verdict, wait_step


def test_a_dead_letter_is_listed_with_its_retry_link(call: Caller, engineer: Engineer) -> None:
    task_id = _poisoned(engineer)

    (listed,) = call("GET", "/v1/dead-steps").json["steps"]
    again = call("POST", listed["links"]["retry"], json={"from_step": listed["step_id"]}).json["task_id"]
    (after,) = call("GET", "/v1/dead-steps").json["steps"]

    assert (listed["task_id"], listed["task_status"], listed["step_id"]) == (task_id, "failed", "b")
    assert (listed["arm_id"], listed["kills"], listed["error"]["code"]) == ("executor", 3, "poison_step")
    assert_time(listed["failed_at"])
    assert (listed["retried_by"], after["retried_by"]) == (None, again)


def test_a_replay_starts_without_earlier_kills(call: Caller, engineer: Engineer) -> None:
    task_id = _poisoned(engineer)

    again = engineer.retry(task_id)

    assert engineer.row(again, "a")["state"] == "done"
    assert engineer.row(again, "b")["kills"] == 0
    assert engineer.take(again, "b").attempt == 1


def test_other_failures_and_other_tenants_steps_are_not_listed(
    call: Caller, as_caller: AsCaller, engineer: Engineer
) -> None:
    plain = engineer.start(wait_step("a"))
    engineer.fail(plain, "a")
    _poisoned(engineer)

    assert len(call("GET", "/v1/dead-steps").json["steps"]) == 1
    assert as_caller("umbrella")("GET", "/v1/dead-steps").json == {"steps": [], "next_cursor": None}


def test_the_list_is_paged_newest_first(call: Caller, engineer: Engineer) -> None:
    ids = [_poisoned(engineer) for _ in range(3)]

    first = call("GET", "/v1/dead-steps?limit=2").json
    second = call("GET", f"/v1/dead-steps?limit=2&cursor={first['next_cursor']}").json

    listed = [step["task_id"] for step in first["steps"] + second["steps"]]
    assert listed == ids[::-1]
    assert second["next_cursor"] is None
    assert_problem(call("GET", "/v1/dead-steps?cursor=x"), 422, "validation_error")


def test_the_command_prints_how_to_replay(
    api: Api, engineer: Engineer, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    token = sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES)

    def octollm(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(["--url", api.url, "--token", token, *arguments])
        return capsys.readouterr().out

    nothing = octollm("dead")
    task_id = _poisoned(engineer)
    listed = octollm("dead")
    again = octollm("retry", task_id, "--from", "b").strip()

    assert "no step was given up" in nothing
    assert f"replay: octollm retry {task_id} --from b" in listed
    assert "Its worker died" in listed
    assert f"replayed as {again}" in octollm("dead")
    assert json.loads(octollm("dead", "--json"))["steps"][0]["retried_by"] == again


def _poisoned(engineer: Engineer) -> str:
    """Fail a task with a step that the sweeper gives up."""
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    engineer.do(task_id, "a")
    claim = engineer.take(task_id, "b")
    engineer.ask("UPDATE steps SET kills = 3 WHERE id = %(id)s", id=claim.id)
    engineer.store(
        claim,
        failed("poison_step", message="Its worker died 3 times while running it; it is not tried again."),
    )
    engineer.judge(task_id, verdict(Decision.FAILED))
    return task_id

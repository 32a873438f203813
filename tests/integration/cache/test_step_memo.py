"""The step memo: a step with the same inputs as an earlier one is not executed again; every other step is."""

from collections.abc import Mapping
from typing import Any

import pytest
import redis

from orchestrator.cache import coalescing
from orchestrator.cache.signed_store import PREFIX
from orchestrator.chord.database import statement
from orchestrator.lifecycle.output_offload import INLINE_BYTES
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import CACHE_MODES, CacheControl
from orchestrator.models.verdict import Decision, Verdict
from tests.integration.attempt_kit import run_step
from tests.integration.cache.kit import COLLECT, WAIT, Company, tampered, with_settings
from workers.attempt.context import AttemptContext

SCAN = {"id": "a", "arm": "safety-guardian", "action": "scan"}
TEXT = "Nothing is hidden here."


def test_a_step_with_the_same_inputs_is_not_executed_again(company: Company) -> None:
    first, source = started(company, "Look at it", SCAN), started(company, "Look again", SCAN)
    done = attempted(company, first)

    again = attempted(company, source)

    assert "memo_of" not in done.provenance
    assert again.provenance["memo_of"] == company.engineer.row(first, "a")["id"]
    assert 0 <= again.provenance["memo_age_seconds"] < 60
    assert (again.output, again.evidence, again.warnings) == (done.output, done.evidence, done.warnings)
    assert again.usage == {}
    assert company.engineer.row(source, "a")["state"] == "done"


def test_a_memoized_result_is_read_from_the_recorded_row(company: Company) -> None:
    """The row in Postgres decides, whatever Redis or the worker's memory contains."""
    first = started(company, "Look at it", SCAN)
    attempted(company, first)
    company.engineer.ask(
        "UPDATE steps SET result = jsonb_set(result, '{output}', '{\"summary\": \"of the row\"}')"
        " WHERE task_id = %(id)s AND name = 'a'",
        id=first,
    )

    assert attempted(company, started(company, "Look again", SCAN)).output == {"summary": "of the row"}


def test_other_inputs_are_another_call(company: Company) -> None:
    pairs: list[tuple[Any, Any]] = [(2, 1), ([3], [3.0]), ([4, 1], [4, True]), ({"a": None}, {}), ("A", "a")]
    for number, (values, others) in enumerate(pairs):
        one, other = ({**COLLECT, "inputs": {"values": item}} for item in (values, others))
        attempted(company, started(company, f"Collect for report {number}", one))

        assert not is_memo(attempted(company, started(company, f"Collect other {number}", other))), others
        assert is_memo(attempted(company, started(company, f"Collect again {number}", one))), values


def test_another_tenant_or_context_is_another_call(company: Company) -> None:
    attempted(company, started(company, "Look at it", SCAN))

    assert not is_memo(attempted(company, started(company, "Look at it", SCAN, tenant="another")))
    assert not is_memo(attempted(company, started(company, "Look at it", SCAN, context="another text")))


def test_another_environment_is_another_call(company: Company) -> None:
    attempted(company, started(company, "Look at it", SCAN))
    changed = with_settings(company, openai_api_key="k")

    assert not is_memo(attempted(changed, started(changed, "Look again", SCAN)))


def test_an_action_with_max_age_0_is_executed_again(company: Company) -> None:
    attempted(company, started(company, "Wait", WAIT))

    assert not is_memo(attempted(company, started(company, "Wait again", WAIT)))


@pytest.mark.parametrize(
    ("mode", "reads", "keeps"),
    [
        ("default", True, True),
        ("refresh", False, True),
        ("bypass", False, False),
        ("no_store", False, False),
    ],
)
def test_the_cache_modes_apply_to_steps(company: Company, mode: str, *, reads: bool, keeps: bool) -> None:
    control = CACHE_MODES[mode]
    attempted(company, started(company, "Collect", COLLECT, cache=control))
    assert is_memo(attempted(company, started(company, "Collect again", COLLECT))) is keeps

    assert is_memo(attempted(company, started(company, "Collect more", COLLECT, cache=control))) is reads


def test_a_clients_plan_without_cache_set_is_executed(company: Company) -> None:
    plan = {"steps": [COLLECT]}
    attempted(company, started(company, "Collect", COLLECT))

    assert not is_memo(attempted(company, started(company, "Run it", COLLECT, plan=plan)))
    assert is_memo(attempted(company, started(company, "Run it", COLLECT, plan=plan, cache=CacheControl())))


def test_a_result_older_than_the_client_or_the_registry_allows_is_not_reused(company: Company) -> None:
    attempted(company, started(company, "Collect", COLLECT))
    aged(company, seconds=100)

    young = CacheControl(max_age_seconds=50)
    assert is_memo(attempted(company, started(company, "Collect again", COLLECT)))
    assert not is_memo(attempted(company, started(company, "Collect more", COLLECT, cache=young)))
    aged(company, seconds=company.settings.cache_ttl)
    assert not is_memo(attempted(company, started(company, "Collect late", COLLECT)))


def test_the_age_of_a_memoized_result_shortens_the_freshness_of_the_tasks_result(company: Company) -> None:
    attempted(company, started(company, "Collect", COLLECT))
    aged(company, seconds=100)
    again = started(company, "Collect again", COLLECT)
    attempted(company, again)

    with statement(company.process.engine) as conn:
        [executed] = coalescing.read_executed(conn, again)

    assert 100 <= executed.age_seconds < 160


def test_cache_ttl_0_memoizes_no_steps(company: Company, client: "redis.Redis") -> None:
    off = with_settings(company, cache_ttl=0)

    attempted(off, started(off, "Collect", COLLECT))

    assert client.keys(f"{PREFIX}*") == []


def test_a_retry_executes_its_steps_again(company: Company) -> None:
    contract: dict[str, Any] = {"plan": {"steps": [COLLECT]}, "cache": CacheControl()}
    first = started(company, "Collect", COLLECT, **contract)
    attempted(company, first)
    company.judge(first)

    again = company.engineer.retry(first, from_step="a")

    assert not is_memo(attempted(company, again))


def test_a_repair_executes_the_step_again(company: Company) -> None:
    repaired = {**COLLECT, "inputs": {"values": [2]}}
    attempted(company, started(company, "Collect 2", repaired))
    task = started(company, "Collect", {**COLLECT, "repair_inputs": repaired["inputs"]})
    attempted(company, task)

    company.engineer.judge(task, Verdict(Decision.FAILED, 1.0, faulty={"a": "not so"}))

    assert company.engineer.row(task, "a")["round"] == 2
    assert not is_memo(attempted(company, task))


def test_a_failed_step_is_not_memoized(company: Company, client: "redis.Redis") -> None:
    inputs = {"value": 1, "check": {"pointer": "", "equals": 2}, "required": True}
    verify = {"id": "a", "arm": "judge", "action": "verify", "inputs": inputs}

    failed = attempted(company, started(company, "Verify", verify))

    assert failed.error is not None
    assert client.keys(f"{PREFIX}step:*") == []


def test_an_output_that_proves_nothing_is_not_reused(company: Company) -> None:
    """What was missing may be there the next time: a dependency, or the package index."""
    needs = {"id": "a", "arm": "executor", "action": "environment", "inputs": {"requirements": ["greeting"]}}

    first = attempted(company, started(company, "Install", needs))

    assert first.output["not_checked"]["reason"] == "dependency_missing"
    assert not is_memo(attempted(company, started(company, "Install again", needs)))


def test_an_output_stored_as_a_file_is_not_reused(company: Company) -> None:
    large = {**COLLECT, "inputs": {"values": ["x" * INLINE_BYTES]}}
    attempted(company, started(company, "Collect", large))

    assert not is_memo(attempted(company, started(company, "Collect again", large)))


def test_a_failed_or_deleted_row_is_not_reused(company: Company) -> None:
    first = started(company, "Collect", COLLECT)
    attempted(company, first)
    company.engineer.ask("UPDATE steps SET state = 'failed' WHERE task_id = %(id)s AND name = 'a'", id=first)

    assert not is_memo(attempted(company, started(company, "Collect again", COLLECT)))


def test_a_tampered_or_moved_pointer_is_ignored(company: Company, client: "redis.Redis") -> None:
    attempted(company, started(company, "Collect", COLLECT))
    [name] = client.keys(f"{PREFIX}step:*")
    other = {**COLLECT, "inputs": {"values": [2]}}
    attempted(company, started(company, "Collect 2", other))
    [moved] = set(client.keys(f"{PREFIX}step:*")) - {name}
    client.set(moved, client.get(name))

    assert not is_memo(attempted(company, started(company, "Collect 2 again", other)))
    client.set(name, tampered(client.get(name)))
    assert not is_memo(attempted(company, started(company, "Collect again", COLLECT)))


def test_a_validly_signed_pointer_to_another_tenants_row_is_ignored(
    company: Company, client: "redis.Redis"
) -> None:
    foreign = started(company, "Collect", COLLECT, tenant="another")
    attempted(company, foreign)
    [theirs] = client.keys(f"{PREFIX}step:*")
    attempted(company, started(company, "Collect", COLLECT))
    [ours] = set(client.keys(f"{PREFIX}step:*")) - {theirs}
    row = company.engineer.row(foreign, "a")["id"]
    company.cache.store.put(ours.decode().removeprefix(PREFIX), row, seconds=60)

    assert not is_memo(attempted(company, started(company, "Collect again", COLLECT)))


def test_without_redis_steps_are_executed(company: Company) -> None:
    alone = with_settings(company, redis_url="redis://127.0.0.1:1/0")
    attempted(alone, started(alone, "Collect", COLLECT))

    assert not is_memo(attempted(alone, started(alone, "Collect again", COLLECT)))


def started(company: Company, goal: str, step: Mapping[str, Any], **contract: Any) -> str:
    """Submit a goal and adopt a plan of this step; return the task's id."""
    task_id = str(company.submit(goal, **{"context": TEXT, **contract}).task_id)
    assert company.plan(task_id, step) is None
    return task_id


def attempted(company: Company, task_id: str) -> StepResult:
    """Execute the task's step as a worker does, and record it."""
    claim = company.engineer.take(task_id, "a")
    result = run_step(AttemptContext.of(company.process, claim))
    company.engineer.store(claim, result)
    return result


def is_memo(result: StepResult) -> bool:
    """Return whether the result came from the memo."""
    return "memo_of" in result.provenance


def aged(company: Company, *, seconds: float) -> None:
    """Make all step results older by `seconds`."""
    company.engineer.ask(
        "UPDATE steps SET finished_at = finished_at - make_interval(secs => %(seconds)s)"
        " WHERE finished_at IS NOT NULL",
        seconds=seconds,
    )

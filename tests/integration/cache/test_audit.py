"""Audits of the cache: hits run again, clients who complain, layers that go off."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.errors import InvalidOperation
from orchestrator.lifecycle import auditing
from orchestrator.settings import Settings
from orchestrator.store.engine import statement
from orchestrator.task_contract import CACHE_MODES
from tests.integration.cache.kit import GOAL, RIGHT, Company
from tests.integration.kit import TENANT


@pytest.fixture
def company(engine: Engine, our_settings: Settings) -> Company:
    return Company(engine, replace(our_settings, cache_audit_share=1.0))


def run_again(company: Company, *, limit: int = 5) -> int:
    return auditing.run_again(company.process.engine, settings=company.settings, limit=limit)


def audits(company: Company) -> list[dict[str, Any]]:
    return company.engineer.ask(
        "SELECT task_id, kind, layer, agrees, rerun_task_id FROM cache_audits ORDER BY kind"
    )


def audited(company: Company, output: Any) -> auditing.Decided:
    """Have a hit run again, with a result of its own, and decide."""
    run_again(company)
    [audit] = [one for one in audits(company) if one["agrees"] is None]
    company.run(audit["rerun_task_id"], verdict=replace(RIGHT, output_value=output))
    [decided] = auditing.decide_ended(company.process.engine, limit=5)
    return decided


def test_a_hit_is_run_again_once_as_a_task_of_low_priority(company: Company) -> None:
    company.solved()
    hit = company.submit().task_id

    assert [run_again(company), run_again(company)] == [1, 0]

    [audit] = audits(company)
    rerun = company.engineer.task(audit["rerun_task_id"])
    assert (audit["task_id"], audit["layer"]) == (hit, "exact")
    assert (rerun.tenant, rerun.goal, rerun.priority) == (TENANT, GOAL, "low")
    assert rerun.contract["metadata"] == {"audit_of": hit}
    [row] = company.engineer.ask(
        "SELECT due <= now() AS is_due FROM steps WHERE task_id = %(id)s", id=rerun.id
    )
    assert row["is_due"]


def test_none_is_run_again_where_the_operator_wants_none(company: Company) -> None:
    company.solved()
    company.submit()

    off = replace(company.settings, cache_audit_share=0.0)
    assert auditing.run_again(company.process.engine, settings=off, limit=5) == 0


def test_a_share_of_the_hits_is_run_again(company: Company) -> None:
    company.solved()
    for _ in range(200):
        company.submit()

    half = replace(company.settings, cache_audit_share=0.5)
    chosen = auditing.run_again(company.process.engine, settings=half, limit=1_000)

    assert 60 <= chosen <= 140


def test_a_rerun_answers_nobody_and_is_no_hit_itself(company: Company) -> None:
    company.solved()
    company.submit()
    run_again(company)
    [audit] = audits(company)

    company.run(audit["rerun_task_id"])

    rows = company.engineer.ask(
        "SELECT cache_key, fresh_until FROM tasks WHERE id = %(id)s", id=audit["rerun_task_id"]
    )
    assert rows == [{"cache_key": None, "fresh_until": None}]


def test_an_equal_result_agrees_and_the_layer_stays_on(company: Company) -> None:
    company.solved()
    company.submit()

    decided = audited(company, RIGHT.output_value)

    assert (decided.layer, decided.opinion.agrees, decided.withdrawn) == ("exact", True, None)
    assert auditing.decide_ended(company.process.engine, limit=5) == []
    assert company.submit().cached.outcome == "hit"


def test_a_result_that_nobody_can_compare_counts_for_nothing(company: Company) -> None:
    company.solved()
    company.submit()

    decided = audited(company, {"a": "otherwise"})

    assert (decided.opinion.agrees, decided.withdrawn) == (None, None)


def test_a_wrong_layer_goes_off_for_the_tenant_and_comes_back_in_time(company: Company) -> None:
    source = company.solved()
    company.solved(tenant="another")
    company.solved("Count the 5 oldest branches")
    company.submit()
    run_again(company)
    [audit] = audits(company)
    company.engineer.ask(
        "UPDATE tasks SET contract = jsonb_set(contract, '{budget,max_repairs}', '0') WHERE id = %(id)s",
        id=audit["rerun_task_id"],
    )
    company.run(audit["rerun_task_id"], verdict=replace(RIGHT, decision=_failed(), output_value={"a": 0}))

    [decided] = auditing.decide_ended(company.process.engine, limit=5)

    assert decided.opinion.agrees is False
    assert decided.withdrawn is not None
    assert (decided.withdrawn.source_task_id, decided.withdrawn.switched_off) == (source, True)
    assert company.submit().cached.outcome == "miss"
    assert company.submit(cache=CACHE_MODES["refresh"]).cached.outcome == "refresh"
    assert company.submit(tenant="another").cached.outcome == "hit"
    company.engineer.ask("UPDATE cache_switches SET off_until = now()")
    assert company.submit("Count the 5 oldest branches").cached.outcome == "hit"
    assert company.submit().cached.outcome != "hit"


def test_a_reported_result_answers_nothing_any_more(company: Company) -> None:
    source = company.solved()
    hit = company.submit().task_id

    first = auditing.report_wrong_hit(company.process.engine, tenant=TENANT, task_id=hit, reason="no")
    again = auditing.report_wrong_hit(company.process.engine, tenant=TENANT, task_id=hit, reason="no!")

    assert (first.layer, first.source_task_id, first.switched_off) == ("exact", source, False)
    assert again.switched_off is False
    assert company.submit().cached.outcome == "miss"
    assert [(one["kind"], one["agrees"]) for one in audits(company)] == [("report", False)]


def test_a_report_reaches_the_task_that_ran(company: Company) -> None:
    """An answered task may have been somebody's leader; the one that ran is the one to be withdrawn."""
    source = company.solved()
    with statement(company.process.engine) as conn:
        conn.exec_driver_sql("SELECT 1")
    company.cache.forget(_key_of(company, source))
    leader = company.submit().task_id
    follower = company.submit().task_id
    company.plan(leader)

    withdrawn = auditing.report_wrong_hit(company.process.engine, tenant=TENANT, task_id=follower, reason="")

    assert withdrawn.source_task_id == source
    assert company.submit().cached.outcome == "miss"


def test_two_reports_switch_the_layer_off(company: Company) -> None:
    company.solved("Count the 5 oldest branches")
    company.solved("Count the 6 oldest branches")
    hits = [company.submit(f"Count the {number} oldest branches").task_id for number in (5, 6)]

    one, two = (
        auditing.report_wrong_hit(company.process.engine, tenant=TENANT, task_id=hit, reason="")
        for hit in hits
    )

    assert (one.switched_off, two.switched_off) == (False, True)


def test_only_a_hit_of_ones_own_can_be_reported(company: Company) -> None:
    source = company.solved()
    hit = company.submit().task_id

    for tenant, task_id in ((TENANT, source), ("another", hit)):
        with pytest.raises(InvalidOperation):
            auditing.report_wrong_hit(company.process.engine, tenant=tenant, task_id=task_id, reason="")


def _failed() -> Any:
    from orchestrator.execution_state import Decision

    return Decision.FAILED


def _key_of(company: Company, task_id: str) -> str:
    [row] = company.engineer.ask("SELECT cache_key FROM tasks WHERE id = %(id)s", id=task_id)
    return str(row["cache_key"])

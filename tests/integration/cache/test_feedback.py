"""Reports of wrong hits: the result is withdrawn, and two reports switch the layer off."""

import pytest
from sqlalchemy import Engine

from orchestrator.lifecycle import withdrawal
from orchestrator.lifecycle.withdrawal import WithdrawnHit
from orchestrator.models.errors import InvalidOperation
from orchestrator.models.task_contract import CACHE_MODES
from orchestrator.settings import Settings
from tests.integration.cache.kit import Company
from tests.integration.kit import TENANT


@pytest.fixture
def company(engine: Engine, our_settings: Settings) -> Company:
    return Company(engine, our_settings)


def reported(company: Company, task_id: str, *, tenant: str = TENANT, reason: str = "") -> WithdrawnHit:
    return withdrawal.report_wrong_hit(company.process.engine, tenant=tenant, task_id=task_id, reason=reason)


def test_a_reported_result_is_no_longer_served(company: Company) -> None:
    source = company.solved()
    hit = company.submit().task_id

    first = reported(company, hit, reason="no")
    again = reported(company, hit, reason="no!")

    assert (first.layer, first.source_task_id, first.switched_off) == ("exact", source, False)
    assert again.switched_off is False
    assert company.submit().cached.outcome == "miss"
    assert company.engineer.ask("SELECT kind, reason FROM cache_audits") == [
        {"kind": "report", "reason": "no!"}
    ]


def test_a_report_withdraws_the_result_of_the_task_that_ran(company: Company) -> None:
    """The reported task's source may itself have been answered: the chain ends at the task that ran."""
    source = company.solved()
    company.cache.forget(_key_of(company, source))
    leader = company.submit().task_id
    follower = company.submit().task_id
    company.plan(leader)

    withdrawn = reported(company, follower)

    assert withdrawn.source_task_id == source
    assert company.submit().cached.outcome == "miss"


def test_two_reports_switch_the_layer_off(company: Company) -> None:
    company.solved("Count the 5 oldest branches")
    company.solved("Count the 6 oldest branches")
    hits = [company.submit(f"Count the {number} oldest branches").task_id for number in (5, 6)]

    one, two = (reported(company, hit) for hit in hits)

    assert (one.switched_off, two.switched_off) == (False, True)


def test_a_layer_is_off_for_the_reporting_tenant_only_and_for_a_week(
    company: Company,
) -> None:
    company.solved()
    company.solved(tenant="another")
    company.solved("Count the 9 oldest branches")
    for number in (5, 6):
        company.solved(f"Count the {number} oldest branches")
        reported(company, company.submit(f"Count the {number} oldest branches").task_id)

    during = [company.submit().cached.outcome, company.submit(tenant="another").cached.outcome]
    refreshed = company.submit(cache=CACHE_MODES["refresh"]).cached.outcome
    company.engineer.ask("UPDATE cache_switches SET off_until = now()")

    assert (during, refreshed) == (["miss", "hit"], "refresh")
    assert company.submit("Count the 9 oldest branches").cached.outcome == "hit"


def test_an_audit_row_of_an_earlier_release_is_ignored(company: Company) -> None:
    company.solved("Count the 5 oldest branches")
    hit = company.submit("Count the 5 oldest branches").task_id
    company.engineer.ask(
        """INSERT INTO cache_audits (task_id, kind, tenant, layer, source_task_id, agrees, decided_at)
           VALUES (%(task)s, 'audit', %(tenant)s, 'exact', 'task_0', false, now())""",
        task=hit,
        tenant=TENANT,
    )

    assert reported(company, hit).switched_off is False


def test_a_tenant_can_report_its_own_hits_only(company: Company) -> None:
    source = company.solved()
    hit = company.submit().task_id

    for tenant, task_id in ((TENANT, source), ("another", hit)):
        with pytest.raises(InvalidOperation):
            reported(company, task_id, tenant=tenant)


def _key_of(company: Company, task_id: str) -> str:
    [row] = company.engineer.ask("SELECT cache_key FROM tasks WHERE id = %(id)s", id=task_id)
    return str(row["cache_key"])

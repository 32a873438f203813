"""Approvals among processes with their own logins, and the functions that run with their owner's rights."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import approvals, cancel, effects
from orchestrator.lifecycle.effects import Loss
from orchestrator.memory import roles
from orchestrator.memory.roles import CALLERS, GRANTS
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.approval import Verb
from orchestrator.settings import Settings
from tests.integration.approval_kit import asked, decide, gated, let_expire
from tests.integration.conftest import Login
from tests.integration.effect_kit import begin
from tests.integration.kit import TENANT, Engineer, done
from tests.ledger import append

# a table of a session's own, which a name without a schema means before any other, and a trigger on it
HIJACK = """
CREATE TEMPORARY TABLE tasks (id text, finished_at timestamptz, tenant text, contract jsonb, wait_seconds float8,
    waits_until timestamptz, deadline_at timestamptz, created_at timestamptz, has_gates boolean) ON COMMIT DROP;
INSERT INTO tasks (id, finished_at) SELECT id, now() FROM public.tasks;
GRANT ALL ON tasks TO PUBLIC;
"""


def test_an_arm_can_not_lead_a_function_of_the_owner_to_its_own_tables(
    login: Login, engineer: Engineer
) -> None:
    task_id = engineer.start(gated("a"))
    approval = asked(engineer, task_id, "a")
    arm = login("coder")

    with transaction(arm) as conn:
        conn.exec_driver_sql(HIJACK)
        conn.exec_driver_sql(f"SELECT octollm_withdraw_1('{task_id}')")

    assert asked(engineer, task_id, "a").state == approval.state == "pending"


def test_each_function_of_the_owner_looks_for_names_in_our_schema_first(engine: Engine) -> None:
    """Without pg_temp at the end, Postgres looks for tables in the caller's own temporary schema first."""
    with statement(engine) as conn:
        found = conn.exec_driver_sql(
            "SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        ).all()

    assert found
    assert [name for name, config in found if config != ["search_path=public, pg_temp"]] == []


@pytest.mark.parametrize(
    "sql", ["INSERT INTO approvals (id) VALUES ('forged')", "UPDATE approvals SET proposal = '{}'"]
)
def test_the_api_can_not_forge_approvals_as_the_tenants_role(login: Login, sql: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_statement(login("web"), TENANT) as conn,
    ):
        conn.exec_driver_sql(sql)


def test_each_function_of_the_owner_that_changes_rows_has_its_callers_stated(engine: Engine) -> None:
    """Everybody may call a function that is not stated: state a new one in orchestrator.memory.roles."""
    only_answers = {"octollm_may_run", "octollm_may_run_2"}
    with statement(engine) as conn:
        there = conn.exec_driver_sql(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        ).scalars()

        assert set(there) - only_answers == set(CALLERS)


def test_without_all_roles_everybody_may_still_call_the_functions_of_the_owner(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = "SELECT has_function_privilege('plain', 'octollm_withdraw_1(text)', 'EXECUTE')"
    with engine.connect() as conn:
        conn.exec_driver_sql("BEGIN")
        conn.exec_driver_sql("CREATE ROLE plain")
        refused = conn.exec_driver_sql(may).scalar_one()
        conn.exec_driver_sql("GRANT EXECUTE ON FUNCTION octollm_withdraw_1(text) TO PUBLIC")
        monkeypatch.setitem(roles._SQL, "make", "SELECT")
        monkeypatch.setattr(roles, "GRANTS", {**GRANTS, "octollm_new": {}})
        roles.complete(conn)
        allowed = conn.exec_driver_sql(may).scalar_one()
        conn.exec_driver_sql("ROLLBACK")

    assert (refused, allowed) == (False, True)


@pytest.mark.usefixtures("ledger")
def test_the_kinds_of_processes_ask_people_together(
    login: Login, our_settings: Settings, engineer: Engineer
) -> None:
    web, planner, arm, sweeper = (
        Engineer(login(kind), our_settings) for kind in ("web", "planner", "coder", "sweeper")
    )
    task = web.submit(gated("a"), gated("b", "a"), append("c", "b"), gated("d", "c"))
    planner.plan(task)
    decide(web, asked(web, task, "a"))
    arm.do(task, "a")
    decide(web, asked(web, task, "b"))
    arm.do(task, "b")
    for process in (arm, sweeper):
        claim = arm.take(task, "c")
        assert begin(arm, claim)
        loss = Loss(claim.id, task, reason="lease_expired", attempt=claim.attempt)
        assert effects.ask(process.engine, loss, settings=our_settings)
        if process is arm:
            decide(web, asked(web, task, "c"), Verb.RUN_AGAIN)
    arm.store(claim, done({"summary": "late", "key": "k"}))
    assert asked(web, task, "c").state == "withdrawn"
    cancel.cancel(web.engine, tenant=TENANT, task_id=task)
    assert asked(web, task, "d").state == "withdrawn"

    overdue = web.submit(gated("a"))
    planner.plan(overdue)
    approval = asked(web, overdue, "a")
    let_expire(engineer, approval)
    assert approvals.expire(sweeper.engine, approval.id, task_id=overdue, settings=our_settings)
    assert asked(web, overdue, "a").state == "expired"

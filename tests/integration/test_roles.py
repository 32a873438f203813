"""What each kind of process may not do in Postgres, tried with its own login."""

from contextlib import nullcontext, suppress

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, ProgrammingError

from orchestrator import conclusion, shortcut
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.lifecycle import cancel
from orchestrator.memory import audit_log, keys, pools, retention, roles
from orchestrator.memory.roles import GRANTS
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.verdict import Decision
from orchestrator.planner.check import check_plan
from orchestrator.process.process_kind import KINDS, ROLES
from orchestrator.settings import Settings
from tests.integration.conftest import Login
from tests.integration.kit import TENANT, Engineer, done, failed, verdict, wait_step

# each statement is allowed to the roles behind it and refused to all others
FORBIDDEN = {
    "SELECT secret_sha256 FROM api_keys": {"octollm_api"},
    "INSERT INTO api_keys (id, tenant, environment, secret_sha256, scopes) "
    "VALUES ('forged', 'acme', 'live', repeat('0', 64), '{admin}')": set(),
    "UPDATE api_keys SET scopes = '{admin}'": set(),
    "UPDATE api_keys SET expires_at = NULL, revoked_at = NULL": set(),
    "DELETE FROM api_keys": set(),
    "SELECT octollm_make_key_1('forged', 'acme', '', 'live', repeat('0', 64), '{admin}', NULL)": {
        "octollm_api"
    },
    "SELECT octollm_revoke_key_1('x', NULL)": {"octollm_api"},
    "SELECT octollm_retire_key_1('x', NULL, 0)": {"octollm_api"},
    "DELETE FROM events": set(),
    "UPDATE events SET payload = '{}'": set(),
    "DELETE FROM traces": set(),
    "UPDATE traces SET payload = '{}'": set(),
    "UPDATE tasks SET tenant = 'umbrella'": {"octollm_api", "octollm_rounds"},
    "UPDATE tasks SET contract = '{}'": {"octollm_api", "octollm_rounds"},
    "UPDATE tasks SET deadline_at = now() + interval '1 year'": {"octollm_api", "octollm_rounds"},
    "INSERT INTO tasks (id, tenant, priority, contract, deadline_at) "
    "VALUES ('task_0000000000000000', 'acme', 'low', '{}', now())": {"octollm_api"},
    "DELETE FROM tasks": {"octollm_sweeper"},
    "INSERT INTO rounds (task_id, number, plan_id, chord_id, plan) VALUES ('x', 1, 'p', 'c', '{}')": {
        "octollm_rounds"
    },
    "UPDATE rounds SET verdict = '{}', concluded_at = now()": {"octollm_rounds"},
    "DELETE FROM rounds": set(),
    'UPDATE steps SET spec = \'{"permit": "forged"}\'': set(),
    "UPDATE steps SET arm = 'executor', queue = 'arm.executor'": set(),
    "UPDATE steps SET bindings = '{}'": set(),
    "UPDATE steps SET gate = 'open'": {"octollm_api", "octollm_sweeper"},
    "UPDATE tasks SET has_gates = false": {"octollm_api", "octollm_rounds"},
    "INSERT INTO approvals (id) VALUES ('forged')": set(),
    "UPDATE approvals SET decided_by = 'me'": {"octollm_api"},
    "UPDATE approvals SET state = 'approved'": {"octollm_api", "octollm_sweeper"},
    "UPDATE approvals SET proposal = '{}'": set(),
    "UPDATE approvals SET expires_at = now()": set(),
    "DELETE FROM approvals": set(),
    "SELECT octollm_ask_1('x', 'x', 'approval', '{}', 'x', NULL, NULL)": {
        "octollm_rounds",
        "octollm_arm",
        "octollm_sweeper",
    },
    "SELECT octollm_take_back_1('x')": {"octollm_api", "octollm_arm", "octollm_sweeper"},
    "SELECT octollm_withdraw_1('x')": {"octollm_api", "octollm_rounds", "octollm_arm", "octollm_sweeper"},
    "SELECT octollm_withdraw_outcome_1('x')": {"octollm_arm", "octollm_sweeper"},
    "INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, state, due, spec) "
    "VALUES ('x', 'x', 1, 'step', 'x', 'executor', 'arm.executor', 1, 'queued', now(), '{\"permit\": \"forged\"}')": {
        "octollm_api",
        "octollm_rounds",
    },
    "DELETE FROM steps": set(),
    "DELETE FROM ledger": set(),
    "DELETE FROM artifacts": {"octollm_api", "octollm_sweeper"},
    "UPDATE artifact_chunks SET content = ''": set(),
    "UPDATE passages SET content = 'forged'": set(),
    "UPDATE cache_switches SET off_until = now()": {"octollm_api"},
    "SELECT * FROM submissions": {"octollm_api", "octollm_sweeper"},
    "UPDATE declarations SET status = 'healthy'": {"octollm_api"},
    "UPDATE registered_arms SET url = 'https://forged.example.com'": {"octollm_api"},
    "INSERT INTO registered_arms (arm_id, tenant, manifest, url, registered_by, expires_at) "
    "VALUES ('acme/x', 'acme', '{}', 'https://forged.example.com', 'x', now())": {"octollm_api"},
    "DELETE FROM registered_arms": {"octollm_sweeper"},
    "UPDATE arm_outages SET until = now()": {"octollm_arm"},
    "UPDATE webhooks SET state = 'pending'": {"octollm_api", "octollm_webhook", "octollm_sweeper"},
    "SELECT * FROM audit_log": {"octollm_sweeper"},
    "INSERT INTO audit_log (occurred_at, action, outcome) VALUES (now(), 'forged', 'allowed')": {
        "octollm_api"
    },
    "UPDATE audit_log SET outcome = 'allowed'": set(),
    "DELETE FROM audit_log": {"octollm_sweeper"},
    "SELECT contract FROM schedules": {"octollm_api", "octollm_sweeper"},
    "UPDATE schedules SET contract = '{}'": {"octollm_api"},
    "UPDATE schedules SET next_at = now(), due_at = now()": {"octollm_api"},
    "DELETE FROM schedules": {"octollm_api"},
    "INSERT INTO schedule_events (schedule_id, tenant, type) VALUES ('x', 'acme', 'forged')": {"octollm_api"},
    "UPDATE schedule_events SET reason = 'forged'": set(),
    "DELETE FROM schedule_events": {"octollm_sweeper"},
    "INSERT INTO schedule_waiting (schedule_id, tenant, scheduled_at, kind) VALUES ('x', 'acme', now(), 'backfill')": {
        "octollm_api"
    },
    "SELECT octollm_fire_1('x', 1, 'trigger', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'x', 'x', 1)": {
        "octollm_api",
        "octollm_sweeper",
    },
    "CREATE TABLE mine (a int)": set(),
    "ALTER TABLE steps DISABLE ROW LEVEL SECURITY": set(),
    "DROP POLICY all_tenants ON steps": set(),
    "TRUNCATE tasks CASCADE": set(),
    "CREATE ROLE mine SUPERUSER": set(),
    "SET ROLE postgres": set(),
    "SET SESSION AUTHORIZATION postgres": set(),
    "SET session_replication_role = replica": set(),
    "COPY tasks TO '/tmp/tasks'": set(),
    "COPY (SELECT 1) TO PROGRAM 'id'": set(),
    "SELECT pg_read_file('/etc/passwd')": set(),
    "SELECT rolpassword FROM pg_authid": set(),
}


def is_allowed(engine: Engine, sql: str) -> bool:
    """Return whether Postgres allows the statement; it is rolled back."""
    with engine.connect() as conn:
        conn.exec_driver_sql("BEGIN")
        try:
            conn.exec_driver_sql(sql.replace("%", "%%"))
        except ProgrammingError as error:
            # must be owner, permission denied
            return getattr(error.orig, "pgcode", "") != "42501"
        except DBAPIError as error:
            # it failed for another reason than its rights: a missing key or a constraint
            return getattr(error.orig, "pgcode", "") != "42501"
        finally:
            with suppress(DBAPIError):
                conn.exec_driver_sql("ROLLBACK")
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_process_may_do_none_of_this(login: Login, engineer: Engineer, kind: str) -> None:
    engineer.start(wait_step("a"))
    own = login(kind)

    allowed = {sql for sql in FORBIDDEN if is_allowed(own, sql)}

    assert allowed == {sql for sql, may in FORBIDDEN.items() if ROLES.get(kind) in may}


def test_the_owner_may_run_every_statement(engine: Engine, engineer: Engineer) -> None:
    """A statement that fails for another reason than its rights would prove nothing."""
    engineer.start(wait_step("a"))

    refused = {sql for sql in FORBIDDEN if not is_allowed(engine, sql)}

    assert refused == set()


def test_a_role_can_not_become_another(login: Login) -> None:
    arm = login("coder")

    for role in ("octollm_api", "octollm_rounds", "octollm_sweeper", "octollm_up_web", "octollm_tenant"):
        assert not is_allowed(arm, f"SET ROLE {role}")


def test_the_api_is_still_confined_to_the_tenant_it_acts_for(login: Login, engineer: Engineer) -> None:
    engineer.start(wait_step("a"))
    api = login("web")

    with tenant_statement(api, "umbrella") as conn:
        strangers = conn.exec_driver_sql("SELECT count(*) FROM tasks").scalar_one()
    with tenant_statement(api, TENANT) as conn:
        own = conn.exec_driver_sql("SELECT count(*) FROM tasks").scalar_one()

    assert (strangers, own) == (0, 1)


def test_each_table_has_its_rights_stated(engine: Engine) -> None:
    """Only the owner can use a table that no role names: grant a new table in orchestrator.memory.roles."""
    of_a_release_before = {"arm_declarations"}
    with statement(engine) as conn:
        there = set(
            conn.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars()
        )
    stated = {table for rights in GRANTS.values() for table in rights}

    assert there - {"alembic_version"} - of_a_release_before == stated


def test_rights_that_a_role_should_not_have_are_taken_away_by_the_next_migration(
    engine: Engine, login: Login
) -> None:
    arm = login("coder")
    with statement(engine) as conn:
        conn.exec_driver_sql("GRANT ALL ON api_keys TO octollm_arm")
        assert is_allowed(arm, "DELETE FROM api_keys")
        roles.complete(conn)

    assert not is_allowed(arm, "DELETE FROM api_keys")


def test_without_the_right_to_create_roles_everything_works_and_the_doctor_warns(
    engine: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with statement(engine) as conn:
        assert roles.inspect(conn) == roles.RolesState((), str(make_url(postgres_url).username))
        monkeypatch.setattr(roles, "GRANTS", {"octollm_new": {"tasks": "SELECT"}})
        conn.exec_driver_sql("CREATE ROLE plain")
        try:
            conn.exec_driver_sql("SET ROLE plain")
            standing = roles.complete(conn)
        finally:
            conn.exec_driver_sql("RESET ROLE")
            conn.exec_driver_sql("DROP ROLE plain")

    assert standing == roles.RolesState(("octollm_new",), "plain")
    assert "octollm_new" in standing.fault
    assert "CREATE ROLE octollm_new NOLOGIN" in standing.advice


def test_the_kinds_of_processes_complete_a_task_together(login: Login, our_settings: Settings) -> None:
    web, planner, arm, judge = (
        Engineer(login(kind), our_settings) for kind in ("web", "planner", "coder", "judge")
    )
    task = web.submit(wait_step("a"), wait_step("b", "a"))

    planner.plan(task)
    arm.do(task, "a")
    arm.do(task, "b")
    judge.judge(task, verdict(Decision.PASSED))

    assert web.task(task).status == "completed"
    cancelled = web.submit(wait_step("a"))
    cancel.cancel(web.engine, tenant=TENANT, task_id=cancelled, reason="")
    assert web.task(cancelled).status == "cancelled"


def test_each_kind_of_process_makes_its_own_transition_in_one_call_and_no_other(
    login: Login, our_settings: Settings, engineer: Engineer
) -> None:
    task = engineer.submit(wait_step("a"))
    planned = engineer.take(task, "$plan")
    plan = check_plan(planned.contract["plan"], attachments=())
    routes = {"a": {"arm": "executor", "action": "wait"}}

    def adopt(kind: str) -> object:
        with statement(login(kind)) as conn:
            return shortcut.adopt(
                conn, planned, plan, routes=routes, encode_body=lambda _: b"{}", settings=our_settings
            )

    with pytest.raises(ProgrammingError, match="permission denied"):
        adopt("coder")
    assert adopt("planner") is not None
    claim = engineer.take(task, "a")
    with statement(login("coder")) as conn:
        assert shortcut.complete(conn, claim, done(), settings=our_settings) is not None
    judge = engineer.take(task, "$judge")
    for kind in ("coder", "judge"):
        with (
            statement(login(kind)) as conn,
            nullcontext() if kind == "judge" else pytest.raises(ProgrammingError, match="permission denied"),
        ):
            shortcut.conclude(conn, judge, verdict(Decision.PASSED), admission=None)
    assert engineer.task(task).status == "completed"


def test_an_arm_without_budget_ends_its_task_and_lets_a_follower_run(
    login: Login, our_settings: Settings, engineer: Engineer
) -> None:
    leader, follower = engineer.start(wait_step("a")), engineer.submit(wait_step("a"))
    engineer.ask("DELETE FROM steps WHERE task_id = %(id)s", id=follower)
    engineer.ask(
        "UPDATE tasks SET leads = true, cache_key = 'k', cache_parts = '{}' WHERE id = %(id)s", id=leader
    )
    engineer.ask(
        "UPDATE tasks SET leader_id = %(leader)s, cache = '{}', cache_key = 'k', cache_parts = '{}' WHERE id = %(id)s",
        leader=leader,
        id=follower,
    )
    arm = Engineer(login("coder"), our_settings)
    claim = arm.take(leader, "a")

    with transaction(arm.engine) as conn:
        conclusion.exhaust(conn, claim, failed("budget_exceeded"))

    assert engineer.task(leader).status == "failed"
    assert engineer.states(follower) == {"$plan": "queued"}


def test_the_sweeper_deletes_expired_rows(login: Login, engineer: Engineer) -> None:
    task = engineer.start(wait_step("a"))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task, reason="")
    engineer.ask("UPDATE tasks SET finished_at = now() - interval '31 days'")

    with transaction(login("sweeper")) as conn:
        assert retention.forget_tasks(conn, days=30, limit=10) == 1
        assert retention.forget_artifacts(conn, days=30, limit=10) == 0
        assert audit_log.forget(conn, days=7, limit=10) == 0


def test_the_api_checks_keys_and_that_the_server_takes_writes(login: Login, engine: Engine) -> None:
    with transaction(engine) as conn:
        record, text = keys.create(conn, tenant=TENANT, scopes=["task:read"])
    with transaction(login("web")) as conn:
        assert keys.verify(conn, text) is not None
        keys.touch(conn, record.id)
        assert not keys.is_revoked(conn, record.id)
        pools.try_write(conn)
    with transaction(login("planner")) as conn:
        assert pools.arm_statistics(conn)


def test_an_autoscaler_may_ask_how_much_work_a_queue_has_and_nothing_else(
    engine: Engine, postgres_url: str, engineer: Engineer
) -> None:
    task_ids = [engineer.start(wait_step("a")) for _ in range(3)]
    engineer.take(task_ids[0], "a")
    engineer.ask(
        "UPDATE steps SET not_before = now() + interval '1 hour' WHERE task_id = %(id)s AND state = 'queued'",
        id=task_ids[1],
    )
    with statement(engine) as conn:
        conn.exec_driver_sql("CREATE ROLE scaler LOGIN PASSWORD 'p' IN ROLE octollm_scaler")
    address = (
        make_url(postgres_url).set(username="scaler", password="p").render_as_string(hide_password=False)
    )
    scaler = open_engine(address, pool_size=1)
    try:
        with statement(scaler) as conn:
            seconds = conn.exec_driver_sql(
                "SELECT octollm_queued_seconds_1('arm.executor'), octollm_queued_seconds_1('no such queue')"
            ).one()
        refused = [
            sql
            for sql in (
                *FORBIDDEN,
                "SELECT * FROM steps",
                "SELECT * FROM alembic_version",
                "SELECT * FROM pools",
            )
            if not is_allowed(scaler, sql)
        ]
    finally:
        scaler.dispose()
        with statement(engine) as conn:
            conn.exec_driver_sql("DROP ROLE scaler")

    # one runs and one waits, 10 s each without a history; what is put off does not count
    assert tuple(seconds) == (20, 0)
    assert len(refused) == len(FORBIDDEN) + 3

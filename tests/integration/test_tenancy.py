"""Row-level security: a statement on behalf of a tenant sees only that tenant's rows, whatever its conditions."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from orchestrator import bootstrap
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.chord.sql import Prepared
from orchestrator.lifecycle import submission
from orchestrator.memory import files, migrate, row_security, task_lists, tasks
from orchestrator.memory.row_security import CHILDREN, OWNED
from orchestrator.memory.task_lists import TaskFilter
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import Caller, IdempotencyKey
from orchestrator.models.errors import SettingsError
from orchestrator.models.task_contract import Contract
from orchestrator.settings import Settings
from tests.integration.kit import TENANT, Engineer, sent_by, wait_step

HELD = ("tasks", "artifacts", "artifact_chunks", "submissions", "rounds", "steps", "events", "traces")


def submit(engine: Engine, settings: Settings, tenant: str) -> str:
    submitted = submission.submit(
        engine,
        settings=settings,
        caller=Caller(tenant, idempotency=IdempotencyKey("key:k", "0" * 64, 60)),
        contract=Contract(goal="Scan this for secrets", context="x"),
    )
    return submitted.task_id


def counts(conn: Connection, tables: tuple[str, ...]) -> dict[str, int]:
    return {table: conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables}


@pytest.fixture
def theirs(engineer: Engineer, our_settings: Settings) -> str:
    """A task of the tenant that `engineer` works for, with a row in nearly every table."""
    task_id = engineer.start(wait_step("a"))
    submit(engineer.engine, our_settings, TENANT)
    with transaction(engineer.engine) as conn:
        files.put(conn, TENANT, filename="a", media_type="text/plain", content=b"theirs")
    return task_id


@pytest.mark.usefixtures("theirs")
def test_the_policy_hides_all_rows_from_another_tenant(engine: Engine) -> None:
    with statement(engine) as conn:
        without = counts(conn, HELD)
    with tenant_statement(engine, "umbrella") as conn:
        strangers = counts(conn, HELD)
    with tenant_statement(engine, TENANT) as conn:
        own = counts(conn, HELD)

    assert all(count > 0 for count in without.values()), without
    assert set(strangers.values()) == {0}, strangers
    assert own == without


def test_a_query_that_forgets_the_tenant_finds_nothing_of_another(engine: Engine, theirs: str) -> None:
    forgetful = "SELECT count(*) FROM tasks WHERE id = %(id)s"
    update = "UPDATE tasks SET priority = 'low' WHERE id = %(id)s"
    with statement(engine) as conn:
        assert conn.exec_driver_sql(forgetful, {"id": theirs}).scalar_one() == 1

    with tenant_statement(engine, "umbrella") as conn:
        assert conn.exec_driver_sql(forgetful, {"id": theirs}).scalar_one() == 0
        assert conn.exec_driver_sql(update, {"id": theirs}).rowcount == 0
        assert tasks.find_task(conn, TENANT, theirs) is None


def test_a_tenant_can_not_write_rows_of_another(engine: Engine) -> None:
    row = "INSERT INTO submissions (tenant, name, sha256, task_id, expires_at) VALUES (%(t)s, 'n', %(s)s, 'x', now())"

    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        tenant_statement(engine, "umbrella") as conn,
    ):
        conn.exec_driver_sql(row, {"t": TENANT, "s": "0" * 64})


@pytest.mark.usefixtures("theirs")
def test_the_tenant_of_a_statement_does_not_stay_on_its_connection(postgres_url: str) -> None:
    one = open_engine(postgres_url, pool_size=1)
    sees = "SELECT count(*), current_user <> session_user, current_setting('octollm.tenant', true) FROM tasks"

    with tenant_statement(one, "umbrella") as conn:
        first = tuple(conn.exec_driver_sql(sees).one())
    with statement(one) as conn:
        second = tuple(conn.exec_driver_sql(sees).one())
    one.dispose()

    assert first == (0, True, "umbrella")
    assert second == (2, False, "")


@pytest.mark.parametrize("tenant", ["", "o'brien; DROP TABLE tasks", "%s %(x)s", "тенант", "\\"])
def test_any_text_can_be_a_tenants_name_and_none_sees_anothers_rows(
    engine: Engine, our_settings: Settings, theirs: str, tenant: str
) -> None:
    if tenant:
        submit(engine, our_settings, tenant)

    with tenant_statement(engine, tenant) as conn:
        assert len(task_lists.find(conn, tenant, wanted=TaskFilter(), limit=50).ids) == bool(tenant)
        assert tasks.find_task(conn, TENANT, theirs) is None


def test_row_level_security_costs_a_submission_no_round_trip(engine: Engine, our_settings: Settings) -> None:
    submit(engine, our_settings, "warm-up")

    with sent_by(engine) as sent:
        submit(engine, our_settings, "acme")

    assert len(sent) == 1
    assert "set_config('role', 'octollm_tenant', true)" in sent[0]


def test_a_prepared_statement_sees_its_tenants_rows_only(postgres_url: str) -> None:
    one = open_engine(postgres_url, pool_size=1)
    sees = Prepared(
        "octollm_test_sees",
        "SELECT current_user <> session_user AS is_confined, current_setting('octollm.tenant', true) AS tenant"
        " WHERE %(number)s = 1",
        {"number": "int"},
    )

    found = []
    for tenant in ("acme", "umbrella"):
        with tenant_statement(one, tenant) as conn:
            found.append(sees.first(conn, {"number": 1}))
    with statement(one) as conn:
        found.append(sees.first(conn, {"number": 1}))
    one.dispose()

    assert found == [
        {"is_confined": True, "tenant": "acme"},
        {"is_confined": True, "tenant": "umbrella"},
        {"is_confined": False, "tenant": ""},
    ]


def test_every_table_with_a_tenants_rows_has_a_policy_that_binds_its_owner_too(engine: Engine) -> None:
    with statement(engine) as conn:
        found = conn.exec_driver_sql(
            """SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS is_forced,
                (SELECT count(*) FROM pg_policies p WHERE p.tablename = c.relname AND p.policyname = 'one_tenant')
            FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant', 'task_id')
            WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
                AND c.relname NOT IN ('api_keys', 'results', 'groups', 'chords', 'chord_parts')"""
        ).all()
        role = conn.exec_driver_sql(
            "SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = 'octollm_tenant'"
        ).one()

    assert {name for name, _, _ in found} == {*OWNED, *CHILDREN}
    assert all(is_forced and policies == 1 for _, is_forced, policies in found)
    assert tuple(role) == (False, False, False)


@pytest.fixture
def owner(engine: Engine, postgres_url: str) -> Iterator[str]:
    """The URL of a new database whose owner is not a superuser."""
    name = f"plain_{secrets.token_hex(4)}"
    with statement(engine) as conn:
        conn.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
        conn.exec_driver_sql(f"CREATE DATABASE {name} OWNER {name}")
    yield (
        make_url(postgres_url)
        .set(username=name, password=name, database=name)
        .render_as_string(hide_password=False)
    )
    with statement(engine) as conn:
        conn.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        conn.exec_driver_sql(f"DROP OWNED BY {name}")
        conn.exec_driver_sql(f"DROP ROLE {name}")


def test_an_owner_that_can_set_the_role_enforces_policies_and_reads_all_tenants(
    engine: Engine, our_settings: Settings, owner: str
) -> None:
    with statement(engine) as conn:
        conn.exec_driver_sql(f"GRANT octollm_tenant TO {make_url(owner).username}")
    migrate.upgrade(owner)
    plain = open_engine(owner, pool_size=1)

    submit(plain, our_settings, "acme")
    with statement(plain) as conn:
        everybodys = counts(conn, ("tasks", "steps"))
    with tenant_statement(plain, "umbrella") as conn:
        strangers = counts(conn, ("tasks", "steps"))
    plain.dispose()

    assert (everybodys, strangers) == ({"tasks": 1, "steps": 1}, {"tasks": 0, "steps": 0})


def test_a_login_other_than_the_owner_reads_all_tenants(
    engine: Engine, our_settings: Settings, owner: str
) -> None:
    """The service may run under another login than the migrations: it needs the same grants as without policies."""
    worker, url = f"worker_{secrets.token_hex(4)}", make_url(owner)
    with statement(engine) as conn:
        conn.exec_driver_sql(f"GRANT octollm_tenant TO {url.username}")
        conn.exec_driver_sql(f"CREATE ROLE {worker} LOGIN PASSWORD '{worker}'")
    migrate.upgrade(owner)
    plain = open_engine(owner, pool_size=1)
    with statement(plain) as conn:
        conn.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {worker}")
        conn.exec_driver_sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {worker}")
    running = open_engine(
        url.set(username=worker, password=worker).render_as_string(hide_password=False), pool_size=1
    )

    task_id = submit(running, our_settings, "acme")
    with statement(running) as conn:
        seen = counts(conn, ("tasks", "steps", "events"))
        found = tasks.find_task(conn, "acme", task_id)
    running.dispose()
    with statement(plain) as conn:
        conn.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {worker}")
        conn.exec_driver_sql(f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {worker}")
    plain.dispose()
    with statement(engine) as conn:
        conn.exec_driver_sql(f"DROP ROLE {worker}")

    assert seen == {"tasks": 1, "steps": 1, "events": 1}
    assert found is not None


def test_an_owner_that_can_not_set_the_role_works_without_policies(
    our_settings: Settings, owner: str
) -> None:
    """Every query names the tenant anyway; the log warns that the second line of defence is missing."""
    migrate.upgrade(owner)
    plain = open_engine(owner, pool_size=1)

    task_id = submit(plain, our_settings, "acme")
    with tenant_statement(plain, "umbrella") as conn:
        assert tasks.find_task(conn, "umbrella", task_id) is None
        assert tasks.find_task(conn, "acme", task_id) is not None
    plain.dispose()


def test_an_owner_that_can_not_set_the_role_is_refused_where_it_is_required(
    our_settings: Settings, owner: str
) -> None:
    standing = migrate.upgrade(owner)

    assert standing is not None
    assert "row-level security is off" in standing.fault
    assert f'GRANT octollm_tenant TO "{make_url(owner).username}"' in standing.advice
    with pytest.raises(SettingsError, match="_SECURITY is on, but row-level security is off"):
        bootstrap.for_api(replace(our_settings, database_url=owner, require_row_level_security="on"))
    bootstrap.for_api(replace(our_settings, database_url=owner)).engine.dispose()


def test_migrating_again_enforces_policies_that_could_not_be_enforced_before(
    engine: Engine, our_settings: Settings, owner: str
) -> None:
    migrate.upgrade(owner)
    with statement(engine) as conn:
        conn.exec_driver_sql(f"GRANT octollm_tenant TO {make_url(owner).username}")
    plain = open_engine(owner, pool_size=1)
    with statement(plain) as conn:
        between = row_security.inspect(conn)

    standing = migrate.upgrade(owner)

    row_security.require(plain)
    submit(plain, our_settings, "acme")
    with statement(plain) as conn:
        everybodys = counts(conn, ("tasks", "steps", "cache_audits"))
    with tenant_statement(plain, "umbrella") as conn:
        strangers = counts(conn, ("tasks", "steps", "cache_audits"))
    plain.dispose()
    assert between.advice == "octollm migrate, as the owner of the tables"
    assert standing is not None
    assert (standing.fault, standing.advice) == ("", "")
    assert everybodys == {"tasks": 1, "steps": 1, "cache_audits": 0}
    assert strangers == {"tasks": 0, "steps": 0, "cache_audits": 0}

"""Checks and enables Postgres' row-level security, which confines statements to one tenant's rows."""

from typing import NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord import sql
from orchestrator.models.errors import SettingsError

_SQL = sql.load(__file__)
# tables whose rows belong to a tenant, and those whose rows belong to a task; a test compares them with the schema
OWNED = (
    "tasks",
    "artifacts",
    "artifact_chunks",
    "documents",
    "passages",
    "passage_vectors",
    "submissions",
    "cache_audits",
    "cache_switches",
    "declarations",
    "audit_log",
    "registered_arms",
    "approvals",
    "planned_goals",
    "model_answers",
    "schedules",
    "schedule_events",
    "schedule_waiting",
)
CHILDREN = ("rounds", "steps", "ledger", "events", "traces", "webhooks")


class RowSecurityState(NamedTuple):
    """Whether the current user may become the tenants' role, and which tables have no forced policy."""

    may_become: bool
    unprotected: tuple[str, ...]
    user: str

    @property
    def fault(self) -> str:
        """The problem, for operators; empty if there is none."""
        if not self.may_become:
            return (
                f"row-level security is off: the database's user {self.user} may not become the role octollm_tenant. "
                "Only the queries keep tenants apart"
            )
        if self.unprotected:
            return f"row-level security is off on {', '.join(self.unprotected)}"
        return ""

    @property
    def advice(self) -> str:
        """How to turn it on; empty if it is on."""
        if not self.fault:
            return ""
        if self.may_become:
            return "octollm migrate, as the owner of the tables"
        user = '"' + self.user.replace('"', '""') + '"'
        return (
            f"as a superuser of that database: CREATE ROLE octollm_tenant NOLOGIN; GRANT octollm_tenant TO {user}; "
            "(leave the first out if the role exists); then octollm migrate again"
        )


def inspect(conn: Connection) -> RowSecurityState:
    """Return the state of row-level security in a migrated database."""
    unprotected = conn.exec_driver_sql(
        _SQL["unprotected"], {"owned": list(OWNED), "children": list(CHILDREN)}
    )
    return RowSecurityState(
        may_become=bool(conn.exec_driver_sql(_SQL["may_become"]).scalar_one()),
        unprotected=tuple(unprotected.scalars()),
        user=str(conn.exec_driver_sql("SELECT current_user").scalar_one()),
    )


def complete(conn: Connection) -> RowSecurityState:
    """Protect tables that earlier migrations could not protect, and return the state afterwards.

    Locks the tables it protects until the transaction ends. Calling it twice is safe.
    """
    standing = inspect(conn)
    if not standing.may_become or not standing.unprotected:
        return standing
    conn.exec_driver_sql(_SQL["let_in"])
    for table in standing.unprotected:
        statements = _SQL["protect_owned" if table in OWNED else "protect_child"]
        conn.exec_driver_sql(statements.replace("{table}", table))
    return inspect(conn)


def require(engine: Engine) -> None:
    """Raise SettingsError if row-level security is off or can't be checked. For REQUIRE_ROW_LEVEL_SECURITY=on."""
    try:
        with engine.connect() as conn:
            standing = inspect(conn)
    except SQLAlchemyError as error:
        raise SettingsError(
            f"REQUIRE_ROW_LEVEL_SECURITY is on, but the database can't be asked: {type(error).__name__}"
        ) from error
    if standing.fault:
        raise SettingsError(f"REQUIRE_ROW_LEVEL_SECURITY is on, but {standing.fault}: {standing.advice}")

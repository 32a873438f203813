"""Defines a Postgres role for each kind of process, with the rights its work needs and no others.

The roles are groups without a login. An operator may give each kind of process its own login and grant it the kind's
group. A process that connects as the owner of the tables has all rights.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from orchestrator.chord import sql
from orchestrator.process.process_kind import KINDS, ROLES

_SQL = sql.load(__file__)

# the columns of a task that a step's end changes; not its contract, tenant, deadline or plan
_TASK_MOVES: Final = (
    "event_seq, status, phase, percentage, updated_at, tokens_used, cost_dollars, result, error, finished_at, "
    "fresh_until, cache, leader_id, leads"
)
# the columns of a step that its execution changes; not its instructions (arm, spec with its permit, bindings)
_STEP_MOVES: Final = (
    "state, attempt, failures, kills, sends, owner, not_before, due, result, waiting, queued_at, started_at, "
    "finished_at, unannounced, effect_attempt"
)

# a follower that takes over from its leader gets a plan row; an arm does not execute a row without a spec
_PLAN_ROW: Final = (
    "id, task_id, tenant, round, kind, name, arm, queue, priority, state, due, queued_at, sends"
)

_CHORDS: Final = {
    "chords": "SELECT, INSERT, UPDATE",
    "chord_parts": "SELECT, INSERT, UPDATE",
    "results": "SELECT, INSERT, UPDATE",
    "groups": "SELECT, INSERT, UPDATE",
}
_PRESENCE: Final = {"pools": "SELECT, INSERT, UPDATE, DELETE"}
_ENDING: Final = {
    "events": "SELECT, INSERT",
    "traces": "SELECT, INSERT",
    "ledger": "SELECT, INSERT, UPDATE",
    "webhooks": "INSERT",
}
_OUTPUTS: Final = {"artifacts": "SELECT, INSERT, UPDATE", "artifact_chunks": "SELECT, INSERT"}
_CACHE: Final = {"cache_switches": "SELECT"}

GRANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "octollm_api": {
        **_CHORDS,
        **_ENDING,
        **_OUTPUTS,
        # a tenant may delete its files
        "artifacts": "SELECT, INSERT, UPDATE, DELETE",
        "webhooks": "SELECT, INSERT, UPDATE",
        "tasks": "SELECT, INSERT, UPDATE",
        "rounds": "SELECT",
        "steps": f"SELECT, INSERT, UPDATE ({_STEP_MOVES}, priority, gate)",
        "approvals": "SELECT, UPDATE (state, decided_by, decided_at, via, comment, answer, once_name, once_sha256)",
        "submissions": "SELECT, INSERT, UPDATE",
        # it makes and ends keys by functions, so that it can't change one or bring it back
        "api_keys": "SELECT, UPDATE (last_used_at)",
        "cache_audits": "SELECT, INSERT, UPDATE",
        "cache_switches": "SELECT, INSERT, UPDATE",
        "declarations": "SELECT, INSERT, UPDATE",
        "audit_log": "INSERT",
        "registered_arms": "SELECT, INSERT, UPDATE",
        "arm_outages": "SELECT",
        "schedules": "SELECT, INSERT, UPDATE, DELETE",
        "schedule_events": "SELECT, INSERT",
        "schedule_waiting": "SELECT, INSERT",
        # locking a row needs UPDATE on one of its columns; /ready locks one to check that the server takes writes
        "pools": "SELECT, UPDATE (seen_at)",
    },
    "octollm_rounds": {
        **_CHORDS,
        **_PRESENCE,
        **_ENDING,
        **_OUTPUTS,
        **_CACHE,
        "chord_parts": "SELECT, INSERT, UPDATE, DELETE",
        "tasks": "SELECT, UPDATE",
        "rounds": "SELECT, INSERT, UPDATE",
        "steps": f"SELECT, INSERT, UPDATE ({_STEP_MOVES})",
        "documents": "SELECT",
        "planned_goals": "SELECT, INSERT",
        "model_answers": "SELECT, INSERT",
        # the router reads each arm's statistics
        "declarations": "SELECT",
        "registered_arms": "SELECT",
        "arm_outages": "SELECT",
        "approvals": "SELECT",
    },
    "octollm_arm": {
        **_CHORDS,
        **_PRESENCE,
        **_ENDING,
        **_OUTPUTS,
        **_CACHE,
        "tasks": f"SELECT, UPDATE ({_TASK_MOVES})",
        "rounds": "SELECT",
        "steps": f"SELECT, INSERT ({_PLAN_ROW}), UPDATE ({_STEP_MOVES})",
        # it asks by octollm_ask_1, for people only decide through the API
        "approvals": "SELECT",
        "documents": "SELECT, INSERT",
        "passages": "SELECT, INSERT",
        "passage_vectors": "SELECT, INSERT",
        "model_answers": "SELECT, INSERT",
        # a worker that was taken over may not point an arm elsewhere
        "registered_arms": "SELECT",
        "arm_outages": "SELECT, INSERT, UPDATE",
    },
    "octollm_webhook": {
        **_CHORDS,
        **_PRESENCE,
        "tasks": "SELECT",
        "steps": "SELECT",
        "events": "SELECT",
        "traces": "INSERT",
        "webhooks": "SELECT, UPDATE",
    },
    "octollm_sweeper": {
        **_CHORDS,
        **_PRESENCE,
        **_ENDING,
        **_CACHE,
        "chords": "SELECT, INSERT, UPDATE, DELETE",
        "chord_parts": "SELECT, INSERT, UPDATE, DELETE",
        "results": "SELECT, INSERT, UPDATE, DELETE",
        "groups": "SELECT, INSERT, UPDATE, DELETE",
        "tasks": f"SELECT, UPDATE ({_TASK_MOVES}), DELETE",
        "rounds": "SELECT",
        "steps": f"SELECT, INSERT ({_PLAN_ROW}), UPDATE ({_STEP_MOVES}, gate)",
        # what the plan says happens at the expiry, without a person's name
        "approvals": "SELECT, UPDATE (state, decided_at, via, warn_at, settled)",
        "webhooks": "SELECT, INSERT, UPDATE",
        "submissions": "SELECT, DELETE, UPDATE",
        "artifacts": "SELECT, UPDATE, DELETE",
        "audit_log": "SELECT, DELETE",
        # it locks what it deletes
        "registered_arms": "SELECT, DELETE, UPDATE (seen_at)",
        "arm_outages": "SELECT, DELETE",
        # it starts what a client has scheduled by octollm_fire_1, and can't change it
        "schedules": "SELECT",
        "schedule_events": "SELECT, DELETE, UPDATE (once)",
        "schedule_waiting": "SELECT",
    },
    # an autoscaler outside our processes, such as KEDA: it calls one function and reads nothing else
    "octollm_scaler": {},
}

CALLERS: Final[Mapping[str, Sequence[str]]] = {
    "octollm_ask_1": ("octollm_rounds", "octollm_arm", "octollm_sweeper"),
    "octollm_take_back_1": ("octollm_api", "octollm_arm", "octollm_sweeper"),
    # whoever may end a task
    "octollm_withdraw_1": ("octollm_api", "octollm_rounds", "octollm_arm", "octollm_sweeper"),
    "octollm_withdraw_outcome_1": ("octollm_arm", "octollm_sweeper"),
    "octollm_move_early_1": ("octollm_rounds",),
    "octollm_make_key_1": ("octollm_api",),
    "octollm_revoke_key_1": ("octollm_api",),
    "octollm_retire_key_1": ("octollm_api",),
    "octollm_queued_seconds_1": ("octollm_scaler",),
    "octollm_fire_1": ("octollm_api", "octollm_sweeper"),
}
"""Which roles may call the functions that work with their owner's rights."""


class RolesState(NamedTuple):
    """Which roles are missing, and the current user."""

    missing: tuple[str, ...]
    user: str

    @property
    def fault(self) -> str:
        """The problem, for operators; empty if there is none."""
        if self.missing:
            return (
                f"the database lacks the roles {', '.join(self.missing)}, which {self.user} may not create. Everything "
                "works without them, but every process has the rights of its login, not of its kind"
            )
        return ""

    @property
    def advice(self) -> str:
        """How to create the roles; empty if none is missing."""
        if not self.missing:
            return ""
        made = " ".join(f"CREATE ROLE {name} NOLOGIN;" for name in self.missing)
        return f"as a superuser of that database: {made} then octollm migrate again"


def inspect(conn: Connection) -> RolesState:
    """Return the state of the roles in a migrated database."""
    found = conn.exec_driver_sql(_SQL["inspect"], {"names": list(GRANTS)}).mappings().one()
    return RolesState(tuple(found["missing"]), found["user"])


def complete(conn: Connection) -> RolesState:
    """Create missing roles and give each exactly its rights; calling it twice is safe.

    It also fixes where our functions with their owner's rights look for tables, so that no role can lead them
    elsewhere. If the database's user may not create roles, the existing ones still get their rights; while one is
    missing, everybody may call these functions, except those of keys, which are the owner's alone then.
    """
    conn.exec_driver_sql(_SQL["fix_search_paths"])
    for name in inspect(conn).missing:
        conn.exec_driver_sql(_SQL["make"].replace("{role}", name))
    standing = inspect(conn)
    for name in GRANTS.keys() - set(standing.missing):
        conn.exec_driver_sql(_SQL["renew"].replace("{role}", name))
        there = set(conn.exec_driver_sql(_SQL["tables"]).scalars())
        for table, rights in _rights(name):
            if table in there:
                conn.exec_driver_sql(f"GRANT {rights} ON {table} TO {name}")
    if not standing.missing:
        _limit_callers(conn)
    conn.exec_driver_sql(_SQL["limit_tenants"])
    if "octollm_api" not in standing.missing:
        conn.exec_driver_sql(_SQL["let_api_confine"])
    return standing


def make_logins(conn: Connection, database_url: str) -> dict[str, str]:
    """Create a login for each kind of process, with the rights of its role; return their URLs by kind.

    Each call sets new passwords. Only for a server of our own: the current user must be a superuser.
    """
    addresses = {}
    for kind in KINDS:
        login, password = f"octollm_up_{kind}", secrets.token_urlsafe(24)
        conn.exec_driver_sql(_SQL["make_login"].replace("{login}", login), {"password": password})
        if kind in ROLES:
            conn.exec_driver_sql(f"GRANT {ROLES[kind]} TO {login}")
        address = make_url(database_url).set(username=login, password=password)
        addresses[kind] = address.render_as_string(hide_password=False)
    return addresses


def _limit_callers(conn: Connection) -> None:
    known = {"names": list(CALLERS)}
    for name, signature in conn.exec_driver_sql(_SQL["functions"], known).all():
        conn.exec_driver_sql(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC, {', '.join(GRANTS)}")
        conn.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {signature} TO {', '.join(CALLERS[name])}")


def _rights(role: str) -> Iterator[tuple[str, str]]:
    if GRANTS[role]:
        yield "alembic_version", "SELECT"
    yield from GRANTS[role].items()

"""Examines the servers that a running system stands on: Postgres, Redis, and the workers that beat there."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from redis.exceptions import RedisError
from sqlalchemy import Connection

import migrations
from orchestrator.cache import redis_policy
from orchestrator.chord.database import fault_of, is_away, open_engine, statement
from orchestrator.cli.finding import Finding, good, note, trouble
from orchestrator.connections import redis_client
from orchestrator.memory import encoding, pools, roles, row_security
from orchestrator.models.arm_capability import ARMS, registry_digest
from orchestrator.settings import Settings

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
_PROBE_SECONDS = 60.0
_SKEW_NOTED_SECONDS = 1.0
# tokens are accepted with 30 s of leeway
_SKEW_TROUBLE_SECONDS = 20.0


def postgres(known: Settings) -> Iterator[Finding]:
    """Examine the database: reachable, new enough, migrated, its clock, the workers that beat in it."""
    try:
        yield from _postgres(known)
    except Exception as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0] or type(error).__name__
        told = f"{fault_of(error)} ({reason})" if is_away(error) else reason
        yield trouble("postgres", told, "mend it, or correct DATABASE_URL")


def _postgres(known: Settings) -> Iterator[Finding]:
    engine = open_engine(known.database_url, pool_size=1)
    try:
        with statement(engine) as conn:
            number = int(conn.exec_driver_sql("SHOW server_version_num").scalar_one())
            yield _version("postgres", number // 10_000, OLDEST_POSTGRES)
            asked = time.time()
            theirs = float(conn.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
            yield _skew("postgres", theirs - (asked + time.time()) / 2)
            yield _encoding(encoding.encoding_of(conn))
            yield from _schema(conn, known)
    finally:
        engine.dispose()


def redis(known: Settings) -> Iterator[Finding]:
    """Examine the broker: reachable, new enough, never evicting queues, its clock."""
    client = redis_client.open_client(known.redis_url)
    try:
        server, policy = client.info("server"), redis_policy.policy_of(client)
        seconds, microseconds = client.time()
        name = "valkey" if "valkey_version" in server else "redis"
        # a Valkey of any version calls itself redis 7.2.4 too
        yield _version(name, int(str(server[f"{name}_version"]).partition(".")[0]), OLDEST_REDIS)
        yield _eviction(policy)
        redis_client.try_write(client)
        yield good("redis writes", "are taken")
        yield _skew(name, seconds + microseconds / 1e6 - time.time())
    except RedisError as error:
        yield trouble("redis", f"{redis_client.fault_of(error)} ({error})", "mend it, or correct REDIS_URL")
    except Exception as error:
        yield trouble("redis", f"it can't be asked ({error})", "correct REDIS_URL")
    finally:
        client.close()


def sandbox(least: str) -> Finding:
    """Examine how tools would be kept apart by a worker on this machine: it tests itself as a worker does."""
    command = [sys.executable, "-m", "workers.sandbox", least]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True)
        told = json.loads(asked.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        return trouble(
            "sandbox", f"its test failed: {error}", "report this, with the output of: " + shlex.join(command)
        )
    if told["reason"]:
        return trouble("sandbox", told["reason"], told["mend"])
    if told["passed_over"]:
        return note("sandbox", f"{told['isolation']}; {'; '.join(told['passed_over'])}", told["mend"])
    return good("sandbox", told["isolation"])


def _version(server: str, major: int, oldest: int) -> Finding:
    if major < oldest:
        return trouble(server, f"version {major}", f"use version {oldest} or newer")
    return good(server, f"version {major}")


def _encoding(name: str) -> Finding:
    if name != encoding.NEEDED:
        return trouble("postgres texts", f"stored as {name}, which can't hold all", encoding.ADVICE)
    return good("postgres texts", name)


def _eviction(policy: str) -> Finding:
    if policy.startswith(redis_policy.FORBIDDEN):
        return trouble(
            "redis memory",
            f"maxmemory-policy {policy} deletes queues when memory is short",
            redis_policy.ADVICE,
        )
    return good("redis memory", f"maxmemory-policy {policy}")


def _skew(server: str, seconds: float) -> Finding:
    subject, told = f"{server} clock", f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    if abs(seconds) > _SKEW_TROUBLE_SECONDS:
        return trouble(subject, told, "synchronise the clocks (NTP): tokens and deadlines go wrong")
    if abs(seconds) > _SKEW_NOTED_SECONDS:
        return note(subject, told, "synchronise the clocks (NTP)")
    return good(subject, "agrees with ours")


def _schema(conn: Connection, known: Settings) -> Iterator[Finding]:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    head = ScriptDirectory.from_config(config).get_current_head()
    exists = conn.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").scalar_one()
    current = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() if exists else None
    if current != head:
        yield trouble("schema", f"is at {current or 'nothing'}, this release needs {head}", "octollm migrate")
        return
    yield good("schema", f"at {head}")
    pools.try_write(conn)
    yield good("postgres writes", "are taken")
    yield row_security_finding(
        row_security.inspect(conn), is_required=known.require_row_level_security == "on"
    )
    yield _roles(roles.inspect(conn))
    yield from _workers(conn)


def row_security_finding(standing: row_security.RowSecurityState, *, is_required: bool) -> Finding:
    """Say whether Postgres keeps tenants apart; where it must, no process starts without."""
    if standing.fault:
        return (trouble if is_required else note)("tenants", standing.fault, standing.advice)
    return good("tenants", "kept apart by row-level security")


def _roles(standing: roles.RolesState) -> Finding:
    if standing.missing:
        return note("roles", standing.fault, standing.advice)
    return good("roles", "each kind of process can have a login with its own rights")


def _workers(conn: Connection) -> Iterator[Finding]:
    alive = pools.alive(conn)
    if not alive:
        yield trouble("workers", "none is alive: no task goes on", "octollm up, or honcho start")
        return
    strangers = sorted(pool.node for pool in alive if pool.registry_digest != registry_digest())
    if strangers:
        yield trouble(
            "registry",
            f"{', '.join(strangers)} run with other arms, prompts or recipes than this release's",
            "deploy the same release everywhere, and restart them",
        )
    else:
        yield good("registry", f"all {len(alive)} live workers run with ours, {registry_digest()[:12]}")
    for pool in alive:
        if pool.unavailable:
            yield trouble(
                pool.node, f"takes no work: {pool.unavailable}", "mend it, then restart this worker"
            )
    idle = sorted({arm.arm_id for arm in ARMS.values()} - {pool.arm for pool in alive})
    if idle:
        yield trouble(
            "workers", f"none is alive for {', '.join(idle)}", "start these arms' lines of Procfile"
        )
    else:
        yield good("workers", f"every arm has one; {len(alive)} live")

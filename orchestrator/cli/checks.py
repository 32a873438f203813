"""Checks of Postgres, Redis, the sandbox and the live workers, for `octollm doctor`."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from alembic.config import Config
from alembic.script import ScriptDirectory
from redis.exceptions import RedisError
from sqlalchemy import Connection

import migrations
from orchestrator.cache import redis_policy
from orchestrator.chord.database import fault_of, is_away, open_engine, statement
from orchestrator.connections import redis_client
from orchestrator.memory import encoding, pools, roles, row_security
from orchestrator.models.arm_capability import ARMS, registry_digest
from orchestrator.settings import Settings

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
_PROBE_SECONDS = 60.0
_SKEW_WARNING_SECONDS = 1.0
# below the 30 s of leeway that tokens are accepted with
_SKEW_FAILURE_SECONDS = 20.0


class CheckStatus(StrEnum):
    """How serious a result is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class CheckResult(NamedTuple):
    """The subject of a check, its state as a sentence, and what to do about it."""

    status: CheckStatus
    subject: str
    message: str
    advice: str = ""


def ok(subject: str, message: str) -> CheckResult:
    """Return a result that needs no action."""
    return CheckResult(CheckStatus.OK, subject, message)


def warning(subject: str, message: str, advice: str = "") -> CheckResult:
    """Return a result that does not stop tasks but should be changed."""
    return CheckResult(CheckStatus.WARNING, subject, message, advice)


def failure(subject: str, message: str, advice: str) -> CheckResult:
    """Return a result that must be fixed."""
    return CheckResult(CheckStatus.FAILURE, subject, message, advice)


def postgres(known: Settings) -> Iterator[CheckResult]:
    """Check the database: reachable, new enough, migrated, clock, row-level security, roles, live workers."""
    try:
        yield from _postgres(known)
    except Exception as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0] or type(error).__name__
        message = f"{fault_of(error)} ({reason})" if is_away(error) else reason
        yield failure("postgres", message, "fix it, or correct DATABASE_URL")


def _postgres(known: Settings) -> Iterator[CheckResult]:
    engine = open_engine(known.database_url, pool_size=1)
    try:
        with statement(engine) as conn:
            number = int(conn.exec_driver_sql("SHOW server_version_num").scalar_one())
            yield _version("postgres", number // 10_000, OLDEST_POSTGRES)
            before = time.time()
            server_time = float(
                conn.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one()
            )
            yield _skew("postgres", server_time - (before + time.time()) / 2)
            yield _encoding(encoding.encoding_of(conn))
            yield from _schema(conn, known)
    finally:
        engine.dispose()


def redis(known: Settings) -> Iterator[CheckResult]:
    """Check the broker: reachable, new enough, writable, without eviction of queues, clock."""
    client = redis_client.open_client(known.redis_url)
    try:
        server, policy = client.info("server"), redis_policy.policy_of(client)
        seconds, microseconds = client.time()
        name = "valkey" if "valkey_version" in server else "redis"
        # every version of Valkey also reports redis_version 7.2.4
        yield _version(name, int(str(server[f"{name}_version"]).partition(".")[0]), OLDEST_REDIS)
        yield _eviction(policy)
        redis_client.try_write(client)
        yield ok("redis writes", "are accepted")
        yield _skew(name, seconds + microseconds / 1e6 - time.time())
    except RedisError as error:
        yield failure("redis", f"{redis_client.fault_of(error)} ({error})", "fix it, or correct REDIS_URL")
    except Exception as error:
        yield failure("redis", f"it does not answer as expected ({error})", "correct REDIS_URL")
    finally:
        client.close()


def environments(index_url: str | None) -> str:
    """Return whether packages with dependencies can be tested; shows of the URL only its host."""
    if index_url is None:
        return "off; set PIP_INDEX_URL to test packages with what they depend on"
    return f"packages are tested with what they depend on, from {urlsplit(index_url).hostname}"


def sandbox(least: str) -> CheckResult:
    """Check the sandbox on this machine by the probe that a worker runs when it starts."""
    command = [sys.executable, "-m", "workers.sandbox", least]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True)
        probed = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        return failure(
            "sandbox", f"its test failed: {error}", "report this, with the output of: " + shlex.join(command)
        )
    if probed["reason"]:
        return failure("sandbox", probed["reason"], probed["mend"])
    if probed["passed_over"]:
        return warning(
            "sandbox", f"{probed['isolation']}; {'; '.join(probed['passed_over'])}", probed["mend"]
        )
    return ok("sandbox", probed["isolation"])


def _version(server: str, major: int, oldest: int) -> CheckResult:
    if major < oldest:
        return failure(server, f"version {major}", f"use version {oldest} or newer")
    return ok(server, f"version {major}")


def _encoding(name: str) -> CheckResult:
    if name != encoding.NEEDED:
        return failure(
            "postgres texts", f"stored as {name}, which can't hold every character", encoding.ADVICE
        )
    return ok("postgres texts", name)


def _eviction(policy: str) -> CheckResult:
    if policy.startswith(redis_policy.FORBIDDEN):
        return failure(
            "redis memory",
            f"maxmemory-policy {policy} deletes queues when memory is short",
            redis_policy.ADVICE,
        )
    return ok("redis memory", f"maxmemory-policy {policy}")


def _skew(server: str, seconds: float) -> CheckResult:
    subject, message = (
        f"{server} clock",
        f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's",
    )
    if abs(seconds) > _SKEW_FAILURE_SECONDS:
        return failure(subject, message, "synchronise the clocks (NTP): tokens and deadlines would be wrong")
    if abs(seconds) > _SKEW_WARNING_SECONDS:
        return warning(subject, message, "synchronise the clocks (NTP)")
    return ok(subject, "agrees with this machine's")


def _schema(conn: Connection, known: Settings) -> Iterator[CheckResult]:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    head = ScriptDirectory.from_config(config).get_current_head()
    exists = conn.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").scalar_one()
    current = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() if exists else None
    if current != head:
        yield failure("schema", f"is at {current or 'nothing'}, this release needs {head}", "octollm migrate")
        return
    yield ok("schema", f"at {head}")
    pools.try_write(conn)
    yield ok("postgres writes", "are accepted")
    yield row_security_result(
        row_security.inspect(conn), is_required=known.require_row_level_security == "on"
    )
    yield _roles(roles.inspect(conn))
    yield from _workers(conn)


def row_security_result(standing: row_security.RowSecurityState, *, is_required: bool) -> CheckResult:
    """Return whether row-level security separates tenants: a failure if it is required, else a warning."""
    if standing.fault:
        return (failure if is_required else warning)("tenants", standing.fault, standing.advice)
    return ok("tenants", "separated by row-level security")


def _roles(standing: roles.RolesState) -> CheckResult:
    if standing.missing:
        return warning("roles", standing.fault, standing.advice)
    return ok("roles", "each kind of process can have a login with its own rights")


def _workers(conn: Connection) -> Iterator[CheckResult]:
    alive = pools.alive(conn)
    if not alive:
        yield failure("workers", "none is alive: no task can run", "octollm up, or honcho start")
        return
    others = sorted(pool.node for pool in alive if pool.registry_digest != registry_digest())
    if others:
        yield failure(
            "registry",
            f"{', '.join(others)} run with arms, prompts or recipes of another release, or with other plug-ins",
            "deploy the same release, ARMS_PATH, RECIPES_PATH and packages with arms everywhere and restart them",
        )
    else:
        yield ok(
            "registry", f"all {len(alive)} live workers run with this release's, {registry_digest()[:12]}"
        )
    for pool in alive:
        if pool.unavailable:
            yield failure(pool.node, f"takes no work: {pool.unavailable}", "fix it, then restart this worker")
    staffed = {pool.arm for pool in alive}
    idle = [arm for arm in ARMS.values() if arm.has_workers and arm.arm_id not in staffed]
    required = sorted(arm.arm_id for arm in idle if arm.is_required)
    optional = sorted(arm.arm_id for arm in idle if not arm.is_required)
    if required:
        yield failure(
            "workers", f"none is alive for {', '.join(required)}", "start these arms' lines of Procfile"
        )
    if optional:
        yield warning(
            "workers", f"none is alive for {', '.join(optional)}", f"octollm worker --arm {optional[0]}"
        )
    if not idle:
        yield ok("workers", f"each arm has one; {len(alive)} live")

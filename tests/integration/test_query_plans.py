"""With 100,000 finished steps in the database, none of our statements scans a large table."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

import orchestrator
from orchestrator import shortcut
from orchestrator.chord import sql
from orchestrator.chord.database import transaction
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.verdict import Decision
from orchestrator.planner.check import check_plan
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step

ORCHESTRATOR = Path(orchestrator.__file__).parent
LARGE = {
    "tasks",
    "rounds",
    "steps",
    "events",
    "traces",
    "model_answers",
    "chords",
    "chord_parts",
    "results",
    "artifacts",
    "approvals",
    "planned_goals",
    "schedule_events",
}
# used by a foreign application's cleanup; ours does not run them (celeryconfig.result_expires)
NOT_OURS = {"chord.expire", "results.expire"}
# schemas and roles, prefixes of statements, and searches (some need extensions that may be missing)
PASSED_OVER = {"backend", "roles", "tenancy", "row_security", "retrieval", "documents"}

FINISHED = """
SET LOCAL session_replication_role = replica;
INSERT INTO tasks (id, tenant, priority, contract, status, phase, round, deadline_at, created_at, finished_at)
SELECT 'task_' || lpad(n::text, 16, '0'), 'tenant' || n %% 20, 'medium',
    jsonb_build_object('goal', 'g', 'attachments', to_jsonb(ARRAY(SELECT n::text WHERE n %% 2 = 0))),
    'completed', 'done', 1, now(), now() - n * interval '1 minute', now() - n * interval '1 minute'
FROM generate_series(1, 10000) n;
INSERT INTO rounds (task_id, number, plan_id, chord_id, plan)
SELECT id, 1, 'plan', 'chord_' || id, '{}' FROM tasks;
INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, chord_id, state, attempt, result, finished_at,
    started_at)
SELECT 'step_' || t.id || n, t.id, 1, 'step', 's' || n, 'executor', 'arm.executor', 6, 'chord_' || t.id,
    CASE WHEN n = 1 THEN 'failed' ELSE 'done' END, 1, '{}', t.finished_at, t.finished_at
FROM tasks t, generate_series(1, 10) n;
INSERT INTO approvals (id, tenant, task_id, step_id, step, round, kind, ask, allow, proposal, proposal_hash, expires_at,
    on_expiry, state, decided_by, decided_at, via, settled)
SELECT 'appr_' || lpad(n::text, 16, '0'), t.tenant, t.id, 'step_' || t.id || 1, 's1', 1, 'approval', '?', '{approve}',
    '{}', repeat('0', 64), now(), 'reject', CASE WHEN n %% 2 = 0 THEN 'approved' ELSE 'rejected' END, 'me',
    now(), 'api', true
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM tasks) t;
INSERT INTO planned_goals (task_id, tenant, words, meaning)
SELECT id, tenant, '{word}', B'01' FROM tasks;
INSERT INTO schedules (id, tenant, name, key_id, has_key, contract, every_seconds, anchor_at, overlap, catchup_seconds,
    next_at, due_at)
SELECT 'sched_' || lpad(n::text, 16, '0'), 'tenant' || n %% 20, n::text, 'k', true, '{}', 60, now(), 'skip', 600,
    now() + interval '1 hour', now() + interval '1 hour'
FROM generate_series(1, 200) n;
INSERT INTO schedule_events (schedule_id, tenant, type, scheduled_at, task_id, occurred_at)
SELECT s.id, s.tenant, 'fire.started', now() - n * interval '1 minute', 't', now() - n * interval '1 minute'
FROM schedules s, generate_series(1, 100) n;
UPDATE tasks SET schedule_id = 'sched_' || right(id, 16) WHERE right(id, 16) < '0000000000000100';
INSERT INTO events (task_id, seq, type, payload)
SELECT t.id, n, 'step.completed', '{}' FROM tasks t, generate_series(1, 10) n;
INSERT INTO traces (task_id, round, kind, payload)
SELECT t.id, 1, 'attempt', '{}' FROM tasks t, generate_series(1, 5) n;
INSERT INTO model_answers
    (task_id, tenant, step, round, attempt, purpose, work, request_sha256, messages, answer_sha256, answer)
SELECT t.id, t.tenant, 'a', 1, 1, 'p', 'answer', repeat('0', 64), '{}', repeat('0', 64), '{}' FROM tasks t;
INSERT INTO chords (id, body, size, done, state, ready_at)
SELECT chord_id, '{}', 10, 10, 'fired', now() FROM rounds;
INSERT INTO chord_parts (chord_id, task_id, idx, failed, counted_at)
SELECT chord_id, id, -1, false, now() FROM steps;
INSERT INTO results (task_id, status)
SELECT id, 'SUCCESS' FROM steps;
INSERT INTO artifacts (tenant, sha256, filename, media_type, size_bytes)
SELECT 'tenant' || n %% 20, md5(n::text) || md5(n::text), 'f', 'text/plain', 1 FROM generate_series(1, 10000) n;
SET LOCAL session_replication_role = origin;
"""

# values of the parameters of our statements, except those that name the test's task
_CONSTANTS: dict[str, Any] = {
    "action": "wait",
    "after": 0,
    "after_seconds": 15,
    "afters": [0],
    "arm": "coder",
    "arm_id": "acme/weather",
    "attempt": 1,
    "attempts": [1],
    "broker_priority": 6,
    "cache_key": "k",
    "call": 1,
    "count": 1,
    "days": 30,
    "decided_by": "me",
    "decision": "{}",
    "delay_seconds": 15,
    "digest": "d",
    "environment": "live",
    "event_id": 1,
    "from": "2026-01-01",
    "gather_id": "g",
    "given": "[]",
    "goal": "g",
    "group_id": "g",
    "has_callback": True,
    "is_kept": True,
    "is_shared": False,
    "kept": "{}",
    "key": 1,
    "kills": 1,
    "kind": "approval",
    "layer": "exact",
    "lease_seconds": 15,
    "least_likeness": 0.3,
    "limit": 200,
    "manifest": "{}",
    "max_age": 15,
    "max_arms": 20,
    "max_compared": 1000,
    "max_cost_dollars": "1",
    "max_faults": 3,
    "max_near": 10,
    "max_parallel": 5,
    "max_reports": 1000,
    "max_running": 64,
    "max_schedules": 100,
    "max_steps": 12,
    "max_text": 80,
    "max_tokens": 1,
    "meaning": "01",
    "min_cost": 1,
    "min_duration": 1,
    "minutes": 60,
    "missing": [1],
    "most": 1000,
    "name": "n",
    "node": "n",
    "nodes": ["n"],
    "number": 1,
    "older_than_seconds": 15,
    "once_name": "n",
    "owner": "me",
    "parent": "fix",
    "patience_seconds": 15,
    "poison_step": 3,
    "priority": "medium",
    "progress": True,
    "proposal": "{}",
    "proposal_hash": "0000000000000000000000000000000000000000000000000000000000000000",
    "query": "word",
    "recipe": "find-lines",
    "redispatch_seconds": 15,
    "registered_by": "me",
    "reports": "[]",
    "revision": 1,
    "round": 1,
    "routes": "{}",
    "rows": "[]",
    "scopes": ["task:read"],
    "seconds": 15,
    "seq": 1,
    "sha256": "0000000000000000000000000000000000000000000000000000000000000000",
    "since": "2026-01-01",
    "size": 1,
    "sort": "longest",
    "source_key": "k",
    "state": "done",
    "status": "x",
    "statuses": ["completed", "failed"],
    "step": "a",
    "store": True,
    "successor_id": "k",
    "terms": ["word"],
    "times": ["2026-01-01"],
    "to": "2027-01-01",
    "told": "{}",
    "ttl_seconds": 90,
    "types": ["fire.started"],
    "urgency": ["low", "medium"],
    "via": "api",
    "window": 2000,
    "within_seconds": 15,
    "words": ["word"],
}


@pytest.fixture
def crowded(engineer: Engineer, engine: Engine) -> dict[str, Any]:
    """A database with a long history and some open work; returns parameters for the statements."""
    with transaction(engine) as conn:
        conn.exec_driver_sql(FINISHED, {})
    ids = [engineer.start(wait_step("a"), wait_step("b", "a")) for _ in range(10)]
    for task_id in ids[:5]:
        engineer.take(task_id, "a")
    with engine.connect() as conn:
        conn.exec_driver_sql("ANALYZE")
    return _values(engineer, ids[0])


@pytest.mark.slow
def test_no_statement_scans_a_large_table(crowded: dict[str, Any], engine: Engine) -> None:
    scanned: dict[str, set[str]] = {}
    skipped = []
    statements = dict(_statements())
    with engine.connect() as conn:
        for name, statement in statements.items():
            plan = _explain(conn, statement, crowded)
            if tables := _scans(plan) & LARGE:
                scanned[name] = tables
            if "One-Time Filter: false" in plan:
                skipped.append(name)
        seen = _scans(_explain(conn, "SELECT * FROM steps WHERE failures > 3", crowded))
        files = _explain(conn, statements["retention.delete_artifacts"], crowded)

    assert scanned == {}
    assert skipped == [], "nothing is read where a condition is null: give its parameter a value"
    assert len(statements) > 80
    assert seen == {"steps"}, "a scan is not seen"
    assert "tasks_attachments" in files, "a tenant's tasks are read for each of its old files"
    assert "steps_stowed" in files, "all steps are read to find who refers to an old file"
    assert "steps_saved" in files, "all steps are read to find who saved an old file"


@pytest.mark.slow
def test_no_transition_in_one_call_scans_a_large_table(
    crowded: dict[str, Any], engineer: Engineer, engine: Engine
) -> None:
    planned = engineer.take(engineer.submit(wait_step("a")), "$plan")
    plan = check_plan(planned.contract["plan"], attachments=())
    running = engineer.take(engineer.start(wait_step("a"), wait_step("b", "a")), "a")
    judged = engineer.start(wait_step("a"))
    engineer.do(judged, "a")
    judge = engineer.take(judged, "$judge")

    with transaction(engine) as conn:
        before = _scanned(conn)
        adopted = shortcut.adopt(
            conn,
            planned,
            plan,
            routes={"a": {"arm": "executor", "action": "wait"}},
            encode_body=lambda _: b"{}",
            settings=engineer.settings,
        )
        completed = shortcut.complete(conn, running, done(), settings=engineer.settings)
        ended = shortcut.conclude(conn, judge, verdict(Decision.PASSED), admission=None)
        after = _scanned(conn)
        conn.exec_driver_sql("SELECT * FROM steps WHERE failures > 3")
        seen = _scanned(conn)

    assert None not in (adopted, completed, ended)
    assert after == before
    assert seen["steps"] == after["steps"] + 1, "a scan is not seen"


QUEUED = """
SET LOCAL session_replication_role = replica;
INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, chord_id, state, attempt, due)
SELECT 'queued_' || n, 'task_' || lpad((n %% 10000 + 1)::text, 16, '0'), 2, 'step', 's' || n, 'executor',
    'arm.executor', 6, 'chord', 'queued', 0, now()
FROM generate_series(1, 100000) n;
SET LOCAL session_replication_role = origin;
"""


@pytest.mark.slow
@pytest.mark.usefixtures("crowded")
def test_an_autoscaler_reads_a_bounded_part_of_100_000_queued_steps(engine: Engine) -> None:
    with transaction(engine) as conn:
        conn.exec_driver_sql(QUEUED, {})
        before = _scanned(conn)
        asked = "SELECT octollm_queued_seconds_1('arm.executor')"
        seconds = conn.exec_driver_sql(asked).scalar_one()
        plan = "\n".join(conn.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {asked}").scalars())
        after = _scanned(conn)
        hit, read = re.search(r"shared hit=(\d+)(?: read=(\d+))?", plan).groups()

    # 10,000 queued steps and five that run, whose arm's steps took no time
    assert seconds == pytest.approx(10_005 * 0.05)
    assert after == before
    assert int(hit) + int(read or 0) < 2_000, plan


def _scanned(conn: Connection) -> dict[str, int]:
    """Return how often this transaction has scanned each large table."""
    rows = conn.exec_driver_sql("SELECT relname, seq_scan FROM pg_stat_xact_user_tables")
    return {row.relname: row.seq_scan for row in rows if row.relname in LARGE}


def _statements() -> Iterator[tuple[str, str]]:
    """Yield every statement of ours, as file.name."""
    for path in sorted(ORCHESTRATOR.rglob("*.sql")):
        if path.stem not in PASSED_OVER:
            for name, statement in sql.load(str(path.with_suffix(".py"))).items():
                if f"{path.stem}.{name}" not in NOT_OURS:
                    yield f"{path.stem}.{name}", statement


def _explain(conn: Connection, statement: str, values: dict[str, Any]) -> str:
    return "\n".join(conn.exec_driver_sql(f"EXPLAIN {statement}", values).scalars())


def _scans(plan: str) -> set[str]:
    return set(re.findall(r"Seq Scan on (\w+)", plan))


def _values(engineer: Engineer, task_id: str) -> dict[str, Any]:
    """Return a value for every parameter of our statements; null for those that are only written."""
    row = engineer.row(task_id, "a")
    named = {
        "above": task_id,
        "arms": list(ARMS),
        "below": task_id,
        "chord_id": row["chord_id"],
        "chord_ids": [row["chord_id"]],
        "id": row["id"],
        "ids": [row["id"]],
        "key_id": task_id,
        "leader_id": task_id,
        "plan_id": row["id"],
        "queues": [arm.queue for arm in ARMS.values()],
        "retry_id": task_id,
        "source_id": task_id,
        "source_task_id": task_id,
        "step_id": row["id"],
        "task_id": task_id,
        "task_ids": [row["id"]],
        "tenant": TENANT,
    }
    return defaultdict(lambda: None, {**_CONSTANTS, **named})

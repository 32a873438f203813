-- name: renew
-- Extend this process' leases. A (row, attempt) pair that is not returned was fenced, cancelled or taken over.
UPDATE steps s
SET due = now() + %(lease_seconds)s * interval '1 second'
FROM (
    SELECT held.id
    FROM steps held
    JOIN unnest(%(ids)s::text[], %(attempts)s::int[]) AS mine (id, attempt)
        ON mine.id = held.id AND mine.attempt = held.attempt
    WHERE held.state = 'running'
    ORDER BY held.id
    FOR UPDATE OF held
) live
WHERE s.id = live.id
RETURNING s.id;

-- name: finish
-- Close a row at the end of an attempt. Any attempt may write a step's success, and the first one wins, also while a
-- person is asked whether its effect happened. Only the
-- current attempt may write a plan, a verdict or a failure: their content depends on how long that attempt was
-- allowed to work. Each dependent of a step that is done or skipped has one dependency less; a dependent without any
-- left is held until a slot is free. What gathers a for_each waits for the end of its rows, however they end.
WITH finished AS (
    UPDATE steps s
    SET state = %(state)s, result = %(result)s::jsonb, due = NULL, finished_at = now()
    WHERE s.id = %(id)s
        AND s.chord_id IS NOT DISTINCT FROM %(chord_id)s
        AND (
            (
                %(state)s = 'done' AND s.kind = 'step' AND s.attempt > 0
                AND (s.state IN ('queued', 'running') OR (s.state = 'waiting' AND s.effect_attempt IS NOT NULL))
            )
            OR (s.state = 'running' AND s.attempt = %(attempt)s)
        )
    RETURNING s.id, s.task_id, s.round, s.kind, s.name, s.arm, s.attempt, s.unblocks, s.owner, s.parent, s.started_at,
        extract(epoch FROM now() - s.started_at)::float8 AS seconds,
        s.unannounced IS DISTINCT FROM s.attempt AS is_announced
), freed AS (
    UPDATE steps d
    SET waiting = d.waiting - 1, state = CASE WHEN d.waiting = 1 THEN 'held' ELSE d.state END
    FROM finished
    WHERE (%(state)s IN ('done', 'skipped') OR finished.parent IS NOT NULL) AND d.id = ANY(finished.unblocks)
        AND d.state = 'blocked'
)
SELECT id, task_id, round, kind, name, arm, attempt, owner, started_at, seconds, is_announced FROM finished;

-- name: release
-- Give the task's free slots to held steps, longest remaining path first. A released step keeps its slot until it
-- ends, also while it waits for a retry. A step with a closed gate needs no slot: it waits for a person. The judge becomes claimable when no step of its round is open, which is
-- also when the round's chord becomes ready.
WITH chosen AS (
    SELECT s.id
    FROM steps s
    WHERE s.task_id = %(task_id)s AND s.round = %(round)s AND s.state = 'held' AND s.gate IS DISTINCT FROM 'closed'
    ORDER BY s.path_length DESC, s.name, s.id
    LIMIT greatest(0, %(max_parallel)s - (
        SELECT count(*)
        FROM steps busy
        WHERE busy.task_id = %(task_id)s AND busy.round = %(round)s AND busy.kind = 'step'
            AND busy.state IN ('queued', 'running')
    ))
), released AS (
    UPDATE steps s
    SET state = 'queued', sends = 1, queued_at = now(), not_before = now(),
        due = now() + %(redispatch_seconds)s * interval '1 second'
    FROM chosen
    WHERE s.id = chosen.id
    RETURNING s.id, s.task_id, s.name, s.kind, s.arm, s.queue, s.priority, s.chord_id, s.round, s.path_length, s.spec,
        s.state
), gated AS (
    UPDATE steps s
    SET state = 'waiting'
    WHERE s.task_id = %(task_id)s AND s.round = %(round)s AND s.state = 'held' AND s.gate = 'closed'
    RETURNING s.id, s.task_id, s.name, s.kind, s.arm, s.queue, s.priority, s.chord_id, s.round, s.path_length, s.spec,
        s.state
), judge AS (
    UPDATE steps s
    SET state = 'queued', sends = 1, queued_at = now(), not_before = now(),
        due = now() + %(redispatch_seconds)s * interval '1 second'
    WHERE s.task_id = %(task_id)s AND s.round = %(round)s AND s.kind = 'judge' AND s.state = 'blocked'
        AND NOT EXISTS (
            SELECT
            FROM steps open
            WHERE open.task_id = %(task_id)s AND open.round = %(round)s AND open.kind = 'step'
                AND open.state IN ('held', 'waiting', 'queued', 'running')
        )
)
SELECT id, task_id, name, kind, arm, queue, priority, chord_id, round, spec, state
FROM (SELECT * FROM released UNION ALL SELECT * FROM gated) began
ORDER BY path_length DESC, name;

-- name: retry
-- Queue a row again after a failure that may be temporary, with a later not_before; it keeps its slot. The failure says
-- that an effect which had begun did not happen.
UPDATE steps
SET state = 'queued', failures = failures + 1, effect_attempt = NULL,
    not_before = now() + %(delay_seconds)s * interval '1 second',
    due = now() + %(delay_seconds)s * interval '1 second'
WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
RETURNING failures;

-- name: postpone
-- Queue a row again for later because a budget or a rate has no room; it keeps its slot, and no failure is counted.
UPDATE steps
SET state = 'queued', effect_attempt = NULL, not_before = now() + %(delay_seconds)s * interval '1 second',
    due = now() + %(delay_seconds)s * interval '1 second'
WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s;

-- name: skip_blocked
-- Mark steps behind a failed step as skipped; they never joined the chord.
UPDATE steps
SET state = 'skipped', finished_at = now()
WHERE task_id = %(task_id)s AND round = %(round)s AND kind = 'step' AND state = 'blocked'
RETURNING id, name, arm;

-- name: fence
-- Close every open row of an ended task, so that none is started or recorded any more. A claim that takes a row at the
-- same time is waited for, and its row is closed as running.
UPDATE steps s
SET state = CASE WHEN s.state = 'blocked' AND s.kind = 'step' THEN 'skipped' ELSE 'cancelled' END,
    due = NULL, finished_at = now()
FROM (
    SELECT id, state
    FROM steps
    WHERE task_id = %(task_id)s AND state IN ('blocked', 'held', 'waiting', 'queued', 'running')
    ORDER BY id
    FOR UPDATE
) open
WHERE s.id = open.id
RETURNING s.id, s.name, s.arm, s.kind, s.round, s.attempt, s.state, open.state AS former_state, s.owner, s.started_at,
    open.state <> 'running' OR s.unannounced IS DISTINCT FROM s.attempt AS is_announced,
    s.effect_attempt IS NOT NULL AS has_begun;

-- name: backlog
-- Count, for each queue with a row that is due, the rows that were sent: so many messages should wait in the broker.
-- `overdue` of them were sent so long ago that their message may be lost.
SELECT queue, count(*) FILTER (WHERE sends > 0 AND due > not_before) AS sent,
    count(*) FILTER (WHERE sends > 0 AND due > not_before AND due <= now()) AS overdue
FROM steps
WHERE state = 'queued' AND not_before <= now() AND kills < %(poison_step)s
GROUP BY queue
HAVING count(*) FILTER (WHERE due <= now()) > 0;

-- name: take_due
-- Take queued rows to publish: those that are due for the first time (a retry is due at its not_before), and of the
-- overdue ones of a queue as many as messages are missing there. A queue is first in, first out, so that the rows
-- sent first are those whose message is gone. Concurrent sweepers share the rows by SKIP LOCKED. The rows are chosen
-- in a MATERIALIZED query: a join may evaluate a plain subquery again and take more than the limit.
WITH ranked AS (
    SELECT id, queue, due, sends > 0 AND due > not_before AS is_overdue,
        row_number() OVER (PARTITION BY queue, sends > 0 AND due > not_before ORDER BY due, id) AS place
    FROM steps
    WHERE state = 'queued' AND due <= now() AND kills < %(poison_step)s
), late AS MATERIALIZED (
    SELECT s.id, ranked.is_overdue
    FROM ranked
    JOIN steps s ON s.id = ranked.id
    LEFT JOIN unnest(%(queues)s::text[], %(missing)s::int[]) AS lost (queue, messages) ON lost.queue = ranked.queue
    WHERE s.state = 'queued' AND s.due <= now() AND (NOT ranked.is_overdue OR ranked.place <= lost.messages)
    ORDER BY ranked.due, s.id
    LIMIT %(limit)s
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE steps s
SET sends = s.sends + 1, due = now() + %(redispatch_seconds)s * interval '1 second'
FROM late
WHERE s.id = late.id
RETURNING s.id, s.task_id, s.name, s.kind, s.arm, s.queue, s.priority, s.chord_id, s.round, s.spec, late.is_overdue;

-- name: count_queued
-- Count queued rows up to a limit.
SELECT count(*)
FROM (SELECT FROM steps WHERE state = 'queued' LIMIT %(limit)s) queued;

-- name: count_queued_of
-- Count a tenant's queued rows up to a limit. It lists the queues because the index starts with them.
SELECT count(*)
FROM (
    SELECT FROM steps
    WHERE state = 'queued' AND queue = ANY(%(queues)s) AND tenant = %(tenant)s
    LIMIT %(limit)s
) queued;

-- name: tool_seconds
-- Sum the wall-clock seconds of the last attempts of a tenant's executor and coder steps in 24 hours. CPU time is
-- not recorded, and is less.
SELECT coalesce(sum(extract(epoch FROM finished_at - started_at)), 0)::bigint
FROM steps
WHERE tenant = %(tenant)s AND state IN ('done', 'failed') AND arm IN ('executor', 'coder')
    AND finished_at > now() - interval '24 hours' AND reuses IS NULL;

-- name: queue_again
-- Make every queued row due now: the broker lost its messages.
UPDATE steps
SET due = now(), sends = 0
WHERE state = 'queued' AND due > now() AND not_before <= now();

-- name: expired
-- Find expired leases without locking; each is handled in its own transaction.
SELECT id, task_id
FROM steps
WHERE state = 'running' AND due < now()
ORDER BY due, id
LIMIT %(limit)s;

-- name: expire
-- Queue a row whose lease expired, checked again under the lock because the owner may have renewed it. A row whose
-- workers died twice may have killed them, or only have run beside the row that did. It gets a random delay, so that
-- rows whose workers died together are not claimed together until all of them count as poison.
WITH back AS (
    SELECT now() + random() * interval '10 seconds' AS late
)
UPDATE steps
SET state = 'queued', kills = kills + 1, sends = 0,
    not_before = CASE WHEN kills = 0 THEN now() ELSE back.late END,
    due = CASE WHEN kills = 0 THEN now() ELSE back.late END
FROM back
WHERE id = %(id)s AND state = 'running' AND due < now() AND effect_attempt IS NULL
RETURNING id, task_id, name, arm, round, attempt, kills, owner,
    extract(epoch FROM not_before - now())::float8 AS delay_seconds;

-- name: hand_back
-- Queue a row whose lease was handed back early: no worker has it, so it is due at once. `kills` counts the deaths.
UPDATE steps
SET state = 'queued', kills = kills + %(kills)s, not_before = now(), due = now(), sends = 0
WHERE id = %(id)s AND state = 'running' AND owner = %(owner)s AND effect_attempt IS NULL
RETURNING id, task_id, name, arm, round, attempt, kills, owner;

-- name: poisoned
-- Find rows that killed too many workers: they can't be claimed any more, and the sweeper gives them up.
SELECT id
FROM steps
WHERE state = 'queued' AND due <= now() AND kills >= %(poison_step)s
ORDER BY due, id
LIMIT %(limit)s;

-- name: out_of_reach
-- Find rows that no worker will claim: all live workers of their arm report a reason for taking no work.
SELECT s.id, withheld.reason
FROM steps AS s
JOIN (
    SELECT arm, max(unavailable) AS reason
    FROM pools
    WHERE seen_at > now() - make_interval(secs => %(patience_seconds)s)
    GROUP BY arm
    HAVING count(*) = count(unavailable)
) AS withheld ON withheld.arm = s.arm
WHERE s.state = 'queued'
  AND s.due <= now()
  AND s.queued_at < now() - make_interval(secs => %(patience_seconds)s)
ORDER BY s.due, s.id
LIMIT %(limit)s;

-- name: results_of
-- Read the latest row of every step of the plan with its result, including results kept from earlier rounds. What
-- began early and is not in the plan stays in round 0 and counts for nothing. For a reused step it returns the row
-- that holds the result; for one with for_each, the row that gathers its items. A step that must not run twice took
-- effect, or may have, if it is done in any round, or if nobody knows what became of its effect, or if its error
-- says that it may have acted, or if it asked about that before it ran.
SELECT DISTINCT ON (s.name) coalesce(s.reuses, s.id) AS id, coalesce(origin.task_id, s.task_id) AS task_id, s.name,
    coalesce(s.spec ->> 'arm', s.arm) AS arm, s.spec ->> 'action' AS action, s.state, s.round, coalesce(s.result, origin.result) AS result,
    s.spec ->> 'feedback' IS NOT NULL AS was_repaired,
    bool_or(s.spec ? 'once' AND (
        s.state = 'done' OR s.spec ? 'repeats' OR (s.state = 'cancelled' AND s.effect_attempt IS NOT NULL)
        OR (s.state = 'failed' AND s.result #>> '{error,code}' = 'outcome_unknown')
        OR (s.state = 'failed' AND s.result #> '{error,details,may_have_acted}' = 'true')
        OR EXISTS (
            SELECT
            FROM approvals a
            WHERE a.step_id = s.id AND a.kind = 'outcome' AND a.state IN ('accepted', 'rejected', 'expired')
        )
    )) OVER (PARTITION BY s.name) AS took_effect
FROM steps s
LEFT JOIN steps origin ON origin.id = s.reuses
WHERE s.task_id = %(task_id)s AND s.kind = 'step' AND s.round BETWEEN 1 AND %(round)s AND s.parent IS NULL
ORDER BY s.name, s.round DESC;

-- name: postgres_up_seconds
-- Read how long Postgres has been running.
SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8;

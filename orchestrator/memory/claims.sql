-- name: claim
-- Take the right to work on a row until a time, and read what the attempt needs. If two deliveries of a message race
-- here, the second waits for the row, finds it running with a live lease and changes nothing. A claim of a step does
-- not lock the task, so it does not wait for the completions of other steps: the task's end closes every open row, and
-- a claim that waited for that finds its row closed. A plan and a judge change the task's phase, so they lock it first.
-- A row whose effect has begun is not taken over: nobody knows whether it happened, so a person decides.
-- The lease starts after the wait for the task or for a change of the row: now() would be the statement's start. A
-- tenant that already has its share of the queue's slots gets no row; octollm_may_run_2 decides that and runs last.
-- LIMIT 1 makes the planner look rows up by their key, whatever its statistics say. No row: the row can't be claimed. A
-- row without an attempt: the step.started of an expired attempt is to be written first (is_unannounced), its tenant
-- has its share, or another claim was faster.
WITH due AS (
    SELECT s.id, s.kind, s.task_id, t.tenant, t.contract, t.cache_key, t.deadline_at, t.created_at, t.trace_context,
        s.state = 'running' AND s.unannounced IS NOT DISTINCT FROM s.attempt AS is_unannounced
    FROM steps s
    CROSS JOIN LATERAL (SELECT * FROM tasks WHERE tasks.id = s.task_id LIMIT 1) t
    WHERE s.id = %(id)s AND t.finished_at IS NULL AND t.deadline_at > now()
        AND (
            (s.state = 'queued' AND s.not_before <= now() AND s.kills < %(poison_step)s)
            OR (s.state = 'running' AND s.due < now() AND s.kills + 1 < %(poison_step)s AND s.effect_attempt IS NULL)
        )
), moved AS (
    SELECT t.id
    FROM tasks t
    WHERE t.id = (SELECT due.task_id FROM due WHERE due.kind <> 'step') AND t.finished_at IS NULL
    FOR UPDATE
), claimed AS (
    UPDATE steps s
    SET state = 'running', attempt = s.attempt + 1, kills = s.kills + (s.state = 'running')::int,
        owner = %(owner)s, due = clock_timestamp() + %(lease_seconds)s * interval '1 second', started_at = now(),
        unannounced = CASE WHEN s.kind = 'step' THEN s.attempt + 1 END
    FROM due
    WHERE s.id = %(id)s AND (due.kind = 'step' OR due.task_id = (SELECT id FROM moved))
        AND (
            (s.state = 'queued' AND s.not_before <= now() AND s.kills < %(poison_step)s)
            OR (s.state = 'running' AND s.due < now() AND s.kills + 1 < %(poison_step)s
                AND s.unannounced IS DISTINCT FROM s.attempt AND s.effect_attempt IS NULL)
        )
        AND octollm_may_run_2(s.queue, s.tenant, %(max_running)s)
    RETURNING s.id, s.task_id, s.round, s.kind, s.name, s.arm, s.chord_id, s.spec, s.bindings, s.attempt,
        s.failures, s.kills, extract(epoch FROM now() - s.queued_at)::float8 AS waited_seconds
), counted AS (
    UPDATE tasks t
    SET event_seq = t.event_seq + 1, status = 'processing', updated_at = now(),
        percentage = CASE claimed.kind WHEN 'judge' THEN greatest(t.percentage, 90) ELSE t.percentage END,
        phase = CASE claimed.kind WHEN 'judge' THEN 'judging' ELSE 'planning' END
    FROM claimed
    WHERE t.id = claimed.task_id AND claimed.kind <> 'step'
    RETURNING t.event_seq
), event AS (
    INSERT INTO events (task_id, seq, type, payload)
    SELECT claimed.task_id, counted.event_seq, 'step.started', jsonb_build_object(
        'step', claimed.name, 'step_id', claimed.id, 'round', claimed.round, 'kind', claimed.kind,
        'arm', claimed.arm, 'attempt', claimed.attempt, 'worker', %(owner)s::text
    )
    FROM claimed, counted
)
SELECT due.id, due.task_id, claimed.round, due.kind, claimed.name, claimed.arm, claimed.chord_id, claimed.spec,
    claimed.bindings, claimed.attempt, claimed.failures, claimed.kills, claimed.waited_seconds, due.tenant,
    CASE
        WHEN due.kind <> 'plan' AND jsonb_typeof(due.contract -> 'plan') = 'object'
            THEN due.contract || '{"plan": {}}'
        ELSE due.contract
    END AS contract,
    due.cache_key, due.deadline_at, due.created_at, due.trace_context, due.is_unannounced,
    extract(epoch FROM due.deadline_at - now())::float8 AS seconds_left,
    CASE WHEN claimed.bindings <> '{}' THEN (
        SELECT jsonb_object_agg(bound.name, jsonb_build_object(
            'status', earlier.result -> 'status', 'output', earlier.result -> 'output',
            'artifact', earlier.result -> 'artifact'
        ))
        FROM jsonb_each_text(claimed.bindings) AS bound (name, id)
        CROSS JOIN LATERAL (
            SELECT s.result FROM steps s WHERE s.id = bound.id AND s.state = 'done' LIMIT 1
        ) earlier
    ) END AS bound,
    CASE WHEN due.kind <> 'judge' AND jsonb_array_length(due.contract -> 'attachments') > 0 THEN (
        SELECT jsonb_agg(jsonb_build_object(
            'sha256', file.sha256, 'filename', file.filename, 'media_type', file.media_type,
            'size_bytes', file.size_bytes
        ) ORDER BY attached.position)
        FROM jsonb_array_elements_text(due.contract -> 'attachments') WITH ORDINALITY AS attached (sha256, position)
        CROSS JOIN LATERAL (
            SELECT * FROM artifacts a WHERE a.tenant = due.tenant AND a.sha256 = attached.sha256 LIMIT 1
        ) file
    ) END AS attachments
FROM due
LEFT JOIN claimed ON true;

-- name: announce
-- Append step.started for the attempt that runs at a row, unless it is written already. Every transaction that ends an
-- attempt writes the event if it is missing, under the task's lock, so that it is written once. It bears the time at
-- which the attempt started.
WITH task AS (
    SELECT t.id
    FROM tasks t
    JOIN steps s ON s.task_id = t.id
    WHERE s.id = %(id)s
    FOR UPDATE OF t
), started AS (
    UPDATE steps s
    SET unannounced = NULL
    FROM task
    WHERE s.id = %(id)s AND s.task_id = task.id AND s.state = 'running' AND s.unannounced = s.attempt
    RETURNING s.id, s.task_id, s.round, s.kind, s.name, s.arm, s.attempt, s.owner, s.started_at
), counted AS (
    UPDATE tasks t
    SET event_seq = t.event_seq + 1, updated_at = now()
    FROM started
    WHERE t.id = started.task_id
    RETURNING t.event_seq
)
INSERT INTO events (task_id, seq, occurred_at, type, payload)
SELECT started.task_id, counted.event_seq, started.started_at, 'step.started', jsonb_build_object(
    'step', started.name, 'step_id', started.id, 'round', started.round, 'kind', started.kind, 'arm', started.arm,
    'attempt', started.attempt, 'worker', started.owner
)
FROM started, counted;

-- name: report
-- Append step.progress for an attempt that still runs at its row. The task's lock comes first, as in every transaction
-- that ends an attempt, and the row is read again once it is locked: no progress follows the end of an attempt.
WITH task AS (
    SELECT t.id
    FROM tasks t
    JOIN steps s ON s.task_id = t.id
    WHERE s.id = %(id)s
    FOR UPDATE OF t
), running AS (
    SELECT s.id, s.task_id, s.round, s.name, s.arm, s.attempt
    FROM task
    JOIN steps s ON s.task_id = task.id
    WHERE s.id = %(id)s AND s.state = 'running' AND s.attempt = %(attempt)s
    FOR NO KEY UPDATE OF s
), counted AS (
    UPDATE tasks t
    SET event_seq = t.event_seq + 1, updated_at = now()
    FROM running
    WHERE t.id = running.task_id
    RETURNING t.event_seq
)
INSERT INTO events (task_id, seq, occurred_at, type, payload)
SELECT running.task_id, counted.event_seq, clock_timestamp(), 'step.progress', jsonb_build_object(
    'step', running.name, 'step_id', running.id, 'round', running.round, 'arm', running.arm,
    'attempt', running.attempt, 'percent', %(percent)s::float8, 'message', %(message)s::text
)
FROM running, counted;

-- name: next_in_turn
-- Find which row runs instead of a queued row whose tenant has its share. Each other tenant waiting for the queue
-- offers its most urgent row; the tenant with the fewest running steps comes first. No row: the claim was refused
-- for another reason. A row of nulls: no other tenant waits, so this tenant waits for one of its own slots.
WITH RECURSIVE mine AS (
    SELECT s.queue, s.tenant, CASE WHEN busy.everywhere >= %(max_running)s THEN 1000000 ELSE busy.here END AS running
    FROM steps s
    JOIN tasks t ON t.id = s.task_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS everywhere, count(*) FILTER (WHERE r.queue = s.queue) AS here
        FROM steps r
        WHERE r.state = 'running' AND r.tenant = s.tenant
    ) busy
    WHERE s.id = %(id)s AND s.state = 'queued' AND s.not_before <= now() AND s.kills < %(poison_step)s
        AND t.finished_at IS NULL AND t.deadline_at > now() AND busy.everywhere > 0
), waiting (tenant) AS (
    SELECT (SELECT min(s.tenant) FROM steps s WHERE s.queue = mine.queue AND s.state = 'queued')
    FROM mine
    UNION ALL
    SELECT (
        SELECT min(s.tenant) FROM steps s WHERE s.queue = mine.queue AND s.state = 'queued' AND s.tenant > waiting.tenant
    )
    FROM waiting, mine
    WHERE waiting.tenant IS NOT NULL
), turn AS (
    SELECT first.*
    FROM mine, waiting
    CROSS JOIN LATERAL (
        SELECT count(*) AS everywhere, count(*) FILTER (WHERE r.queue = mine.queue) AS here
        FROM steps r
        WHERE r.state = 'running' AND r.tenant = waiting.tenant
    ) busy
    CROSS JOIN LATERAL (
        SELECT s.id, s.task_id, s.name, s.kind, s.arm, s.queue, s.priority, s.chord_id, s.round, s.spec
        FROM steps s
        WHERE s.queue = mine.queue AND s.tenant = waiting.tenant AND s.state = 'queued' AND s.not_before <= now()
            AND s.kills < %(poison_step)s
        ORDER BY s.priority, s.queued_at
        LIMIT 1
    ) first
    WHERE waiting.tenant <> mine.tenant AND busy.here < mine.running AND busy.everywhere < %(max_running)s
    ORDER BY busy.here, first.priority, first.id
    LIMIT 1
)
SELECT turn.id, turn.task_id, turn.name, turn.kind, turn.arm, turn.queue, turn.priority, turn.chord_id, turn.round,
    turn.spec
FROM mine
LEFT JOIN turn ON true;

-- name: delay_queued
-- Delay a queued row that gave up its turn. Its message is used up, so it is published again when it may be claimed.
UPDATE steps
SET not_before = now() + %(delay_seconds)s * interval '1 second',
    due = now() + %(delay_seconds)s * interval '1 second'
WHERE id = %(id)s AND state = 'queued' AND not_before <= now();

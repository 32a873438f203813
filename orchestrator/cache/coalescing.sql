-- name: serve
-- Inserts a task as completed with the source's result, if that result may still be served.
-- Returns no row if it may not, or if the tenant has used the same idempotency key before.
WITH source AS (
    SELECT s.id, s.result, extract(epoch FROM now() - s.finished_at)::float8 AS age_seconds,
        extract(epoch FROM s.fresh_until - now())::float8 AS left_seconds
    FROM tasks s
    WHERE s.id = %(source_id)s AND s.tenant = %(tenant)s AND s.cache_key = %(source_key)s
        AND s.fresh_until > now()
        AND NOT EXISTS (
            SELECT FROM cache_switches w WHERE w.tenant = s.tenant AND w.layer = %(layer)s AND w.off_until > now()
        )
        AND (%(max_age)s::float8 IS NULL OR s.finished_at >= now() - %(max_age)s::float8 * interval '1 second')
), named AS (
    INSERT INTO submissions AS earlier (tenant, name, sha256, task_id, expires_at)
    SELECT %(tenant)s, %(once_name)s, %(once_sha256)s, %(id)s, now() + %(once_seconds)s * interval '1 second'
    FROM source
    WHERE %(once_name)s::text IS NOT NULL
    ON CONFLICT (tenant, name) DO UPDATE
    SET sha256 = excluded.sha256, task_id = excluded.task_id, expires_at = excluded.expires_at
    WHERE earlier.expires_at <= now()
    RETURNING task_id
), served AS (
    SELECT source.*, jsonb_build_object(
        'layer', %(layer)s::text, 'source_task_id', source.id, 'age_seconds', round(source.age_seconds::numeric, 3)
    ) AS cache
    FROM source
    WHERE %(once_name)s::text IS NULL OR EXISTS (SELECT FROM named)
), task AS (
    INSERT INTO tasks (id, tenant, key_id, request_id, priority, contract, status, phase, percentage, result,
        cache_key, cache_parts, cache, trace_context, deadline_at, finished_at, event_seq)
    SELECT %(id)s, %(tenant)s, %(key_id)s, %(request_id)s, %(priority)s, %(contract)s::jsonb, 'completed', 'done', 100,
        served.result, %(cache_key)s, %(cache_parts)s::jsonb, served.cache, %(trace_context)s::jsonb,
        least(%(deadline)s::timestamptz, now() + %(max_time_seconds)s * interval '1 second'), now(), 3
    FROM served
    RETURNING id, created_at, deadline_at, cache
), event AS (
    INSERT INTO events (task_id, seq, type, payload)
    SELECT task.id, 1, 'task.submitted', jsonb_build_object('priority', %(priority)s::text, 'deadline_at', task.deadline_at)
    FROM task
    UNION ALL
    SELECT task.id, 2, 'task.cache', task.cache
    FROM task
    UNION ALL
    SELECT task.id, 3, 'task.completed', '{"status": "completed", "error": null, "stopped": []}'
    FROM task
), decision AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT task.id, 0, 'cache', task.cache || '{"outcome": "hit"}'
    FROM task
), webhook AS (
    INSERT INTO webhooks (task_id, seq)
    SELECT task.id, 3
    FROM task
    WHERE %(has_callback)s
)
SELECT task.created_at, served.age_seconds, served.left_seconds
FROM task, served;

-- name: find_fresh
-- Returns the newest result under a key that may be served now.
SELECT s.id AS source_id, s.result, extract(epoch FROM now() - s.finished_at)::float8 AS age_seconds,
    extract(epoch FROM s.fresh_until - now())::float8 AS left_seconds
FROM tasks s
WHERE s.tenant = %(tenant)s AND s.cache_key = %(cache_key)s AND s.fresh_until > now()
    AND NOT EXISTS (
        SELECT FROM cache_switches w WHERE w.tenant = s.tenant AND w.layer = %(layer)s AND w.off_until > now()
    )
    AND (%(max_age)s::float8 IS NULL OR s.finished_at >= now() - %(max_age)s::float8 * interval '1 second')
ORDER BY s.finished_at DESC
LIMIT 1;

-- name: follow
-- Inserts a task as a follower of the task that runs under the same key. Locks the leader and checks again that it is
-- unfinished. A task with an earlier deadline or a smaller budget than the leader does not follow. A higher priority
-- raises the leader's. Returns no row if there is no leader to follow, or if the tenant has used the same idempotency key.
WITH mine AS (
    SELECT least(%(deadline)s::timestamptz, now() + %(max_time_seconds)s * interval '1 second') AS deadline_at
), leader AS (
    UPDATE tasks l
    SET updated_at = now(),
        priority = CASE
            WHEN array_position(%(urgency)s::text[], %(priority)s) < array_position(%(urgency)s::text[], l.priority)
            THEN %(priority)s
            ELSE l.priority
        END
    FROM mine
    WHERE l.tenant = %(tenant)s AND l.cache_key = %(cache_key)s AND l.leads AND l.finished_at IS NULL
        AND l.deadline_at <= mine.deadline_at
        AND (l.contract -> 'budget' ->> 'max_tokens')::int <= %(max_tokens)s
        AND (l.contract -> 'budget' ->> 'max_cost_dollars')::numeric <= %(max_cost_dollars)s::numeric
    RETURNING l.id
), raised AS (
    UPDATE steps s
    SET priority = %(broker_priority)s, due = CASE WHEN s.state = 'queued' THEN now() ELSE s.due END,
        sends = CASE WHEN s.state = 'queued' THEN 0 ELSE s.sends END
    FROM leader
    WHERE s.task_id = leader.id AND s.state IN ('blocked', 'held', 'queued') AND s.priority > %(broker_priority)s
), named AS (
    INSERT INTO submissions AS earlier (tenant, name, sha256, task_id, expires_at)
    SELECT %(tenant)s, %(once_name)s, %(once_sha256)s, %(id)s, now() + %(once_seconds)s * interval '1 second'
    FROM leader
    WHERE %(once_name)s::text IS NOT NULL
    ON CONFLICT (tenant, name) DO UPDATE
    SET sha256 = excluded.sha256, task_id = excluded.task_id, expires_at = excluded.expires_at
    WHERE earlier.expires_at <= now()
    RETURNING task_id
), task AS (
    INSERT INTO tasks (id, tenant, key_id, request_id, priority, contract, cache_key, cache_parts,
        leader_id, cache, trace_context, deadline_at, event_seq)
    SELECT %(id)s, %(tenant)s, %(key_id)s, %(request_id)s, %(priority)s, %(contract)s::jsonb, %(cache_key)s,
        %(cache_parts)s::jsonb, leader.id,
        jsonb_build_object('layer', 'coalesced', 'source_task_id', leader.id, 'age_seconds', 0),
        %(trace_context)s::jsonb, mine.deadline_at, 2
    FROM leader, mine
    WHERE %(once_name)s::text IS NULL OR EXISTS (SELECT FROM named)
    RETURNING id, created_at, deadline_at, cache
), event AS (
    INSERT INTO events (task_id, seq, type, payload)
    SELECT task.id, 1, 'task.submitted', jsonb_build_object('priority', %(priority)s::text, 'deadline_at', task.deadline_at)
    FROM task
    UNION ALL
    SELECT task.id, 2, 'task.cache', task.cache
    FROM task
), decision AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT task.id, 0, 'cache', task.cache || '{"outcome": "coalesced"}'
    FROM task
)
SELECT task.created_at, task.cache ->> 'source_task_id' AS leader_id
FROM task;

-- name: followers
-- Locks and returns the unfinished followers of a leader, the oldest first. The caller has locked the leader's row.
SELECT f.id, f.priority, f.deadline_at <= now() AS is_past_deadline
FROM tasks f
WHERE f.leader_id = %(leader_id)s AND f.finished_at IS NULL
ORDER BY f.id
FOR UPDATE;

-- name: share
-- Copies the leader's final state to its followers. The caller has locked their rows.
WITH ended AS (
    UPDATE tasks f
    SET status = l.status, phase = 'done', result = l.result, error = l.error, finished_at = now(), updated_at = now(),
        percentage = CASE WHEN l.status = 'completed' THEN 100 ELSE f.percentage END, event_seq = f.event_seq + 1
    FROM tasks l
    WHERE l.id = %(leader_id)s AND f.id = ANY(%(ids)s)
    RETURNING f.id, f.status, f.priority, f.error, f.event_seq, f.contract ->> 'callback_url' AS callback_url,
        extract(epoch FROM now() - f.created_at)::float8 AS age_seconds, f.created_at, f.trace_context
), summaries AS (
    SELECT ended.*, jsonb_build_object('status', ended.status, 'error', ended.error, 'stopped', '[]'::jsonb) AS summary
    FROM ended
), event AS (
    INSERT INTO events (task_id, seq, type, payload)
    SELECT summaries.id, summaries.event_seq, 'task.' || summaries.status, summaries.summary
    FROM summaries
), decision AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT summaries.id, 0, 'end', summaries.summary || jsonb_build_object('leader', %(leader_id)s::text)
    FROM summaries
), webhook AS (
    INSERT INTO webhooks (task_id, seq)
    SELECT summaries.id, summaries.event_seq
    FROM summaries
    WHERE summaries.callback_url IS NOT NULL
)
SELECT id, priority, age_seconds, created_at, trace_context
FROM ended
ORDER BY id;

-- name: promote
-- Makes a follower the leader of the others and queues its plan step at once. The caller has locked all rows.
WITH promoted AS (
    UPDATE tasks f
    SET leader_id = NULL, leads = true, cache = NULL, event_seq = f.event_seq + 1, updated_at = now()
    WHERE f.id = %(id)s
    RETURNING f.id, f.event_seq, f.priority, f.tenant
), others AS (
    UPDATE tasks f
    SET leader_id = %(id)s, cache = f.cache || jsonb_build_object('source_task_id', %(id)s::text), updated_at = now()
    WHERE f.id = ANY(%(others)s)
), plan AS (
    INSERT INTO steps (id, task_id, tenant, round, kind, name, arm, queue, priority, state, due, queued_at, sends)
    SELECT %(step_id)s, promoted.id, promoted.tenant, 0, 'plan', '$plan', 'planner', 'planner', %(broker_priority)s,
        'queued', now(), now(), 0
    FROM promoted
), event AS (
    INSERT INTO events (task_id, seq, type, payload)
    SELECT promoted.id, promoted.event_seq, 'task.cache',
        jsonb_build_object('layer', NULL, 'source_task_id', NULL, 'former_leader', %(leader_id)s::text)
    FROM promoted
)
INSERT INTO traces (task_id, round, kind, payload)
SELECT promoted.id, 0, 'cache', jsonb_build_object('outcome', 'promoted', 'former_leader', %(leader_id)s::text)
FROM promoted;

-- name: find_ended_leaders
-- Returns ended leaders that still have unfinished followers. No code path leaves such rows, so each one is a fault.
SELECT f.leader_id
FROM tasks f
JOIN tasks l ON l.id = f.leader_id
WHERE f.leader_id IS NOT NULL AND f.finished_at IS NULL AND f.deadline_at > now() AND l.finished_at IS NOT NULL
GROUP BY f.leader_id
ORDER BY f.leader_id
LIMIT %(limit)s;

-- name: read_executed
-- Returns every step row of the task, in all rounds, with the state of the latest row of that step. What began early
-- and is not in the plan is in no round.
SELECT coalesce(s.spec ->> 'arm', s.arm) AS arm, s.spec ->> 'action' AS action,
    first_value(s.state) OVER (PARTITION BY s.name ORDER BY s.round DESC) AS state,
    coalesce((s.result -> 'provenance' ->> 'memo_age_seconds')::float8, 0) AS age_seconds
FROM steps s
WHERE s.task_id = %(task_id)s AND s.kind = 'step' AND s.round > 0;

-- name: read_key_parts
-- Returns the parts of a task's cache key.
SELECT cache_parts
FROM tasks
WHERE id = %(task_id)s;

-- name: withdraw
-- Withdraws a wrong result: follows the sources from the tenant's task back to the task that ran, and makes none of them
-- servable. Returns the chain; the task itself comes first, because its key may have an entry too.
WITH RECURSIVE chain AS (
    SELECT t.id, t.tenant, t.cache_key, t.cache, 0 AS depth
    FROM tasks t
    WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s
    UNION ALL
    SELECT s.id, s.tenant, s.cache_key, s.cache, chain.depth + 1
    FROM chain
    JOIN tasks s ON s.id = chain.cache ->> 'source_task_id' AND s.tenant = chain.tenant
    WHERE chain.depth < 8
), withdrawn AS (
    UPDATE tasks t
    SET fresh_until = NULL, updated_at = now()
    FROM chain
    WHERE t.id = chain.id AND t.fresh_until IS NOT NULL
)
SELECT chain.id, chain.cache_key
FROM chain
ORDER BY chain.depth;

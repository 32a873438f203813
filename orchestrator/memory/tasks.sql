-- name: submit
-- Insert a task, its plan row and its first event in one statement, so that an accepted task always has work. A
-- submission with a name claims the name first. Of concurrent ones the first inserts the task; the others wait for
-- its commit, insert nothing and return no row.
WITH named AS (
    INSERT INTO submissions AS earlier (tenant, name, sha256, task_id, expires_at)
    SELECT %(tenant)s, %(once_name)s, %(once_sha256)s, %(id)s, now() + %(once_seconds)s * interval '1 second'
    WHERE %(once_name)s::text IS NOT NULL
    ON CONFLICT (tenant, name) DO UPDATE
    SET sha256 = excluded.sha256, task_id = excluded.task_id, expires_at = excluded.expires_at
    WHERE earlier.expires_at <= now()
    RETURNING task_id
), task AS (
    INSERT INTO tasks (id, tenant, key_id, request_id, priority, contract, retry_of, cache_key, cache_parts, leads,
        trace_context, deadline_at, event_seq)
    SELECT %(id)s, %(tenant)s, %(key_id)s, %(request_id)s, %(priority)s, %(contract)s::jsonb, %(retry_of)s,
        %(cache_key)s, %(cache_parts)s::jsonb, %(leads)s, %(trace_context)s::jsonb,
        least(%(deadline)s::timestamptz, now() + %(max_time_seconds)s * interval '1 second'), 1
    WHERE %(once_name)s::text IS NULL OR EXISTS (SELECT FROM named)
    RETURNING id, created_at, deadline_at
), plan AS (
    INSERT INTO steps (id, task_id, tenant, round, kind, name, arm, queue, priority, state, due, queued_at, sends, spec)
    SELECT %(step_id)s, task.id, %(tenant)s, 0, 'plan', '$plan', 'planner', 'planner', %(broker_priority)s, 'queued',
        now() + %(redispatch_seconds)s * interval '1 second', now(), 1, %(plan_spec)s::jsonb
    FROM task
), event AS (
    INSERT INTO events (task_id, seq, type, payload)
    SELECT task.id, 1, 'task.submitted', jsonb_strip_nulls(jsonb_build_object(
        'priority', %(priority)s::text, 'deadline_at', task.deadline_at, 'retry_of', %(retry_of)s::text
    ))
    FROM task
), decided AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT task.id, 0, taken.decision ->> 'kind', taken.decision -> 'payload'
    FROM task, jsonb_array_elements(%(decisions)s::jsonb) AS taken (decision)
)
SELECT created_at FROM task;

-- name: hold_source
-- Lock a task to be retried, so that retention can't delete it before the new task refers to it.
SELECT t.id, t.status, t.round, t.contract, (t.contract ->> 'deadline')::timestamptz <= now() AS is_too_late,
    t.trace_context
FROM tasks t
WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s
FOR KEY SHARE;

-- name: enter_finishing
-- Record that a judged task's answer is being written.
UPDATE tasks
SET phase = 'finishing', percentage = greatest(percentage, 95), updated_at = now()
WHERE id = %(task_id)s AND phase = 'judging' AND finished_at IS NULL;

-- name: link_retry
-- Link the two tasks in each other's trace.
INSERT INTO traces (task_id, round, kind, payload)
SELECT s.id, s.round, 'retried', jsonb_build_object('by', %(retry_id)s::text) || %(told)s::jsonb
FROM tasks s
WHERE s.id = %(source_id)s
UNION ALL
SELECT %(retry_id)s, 0, 'retry', jsonb_build_object('of', %(source_id)s::text) || %(told)s::jsonb;

-- name: find_task
-- Read one task of a tenant.
SELECT t.*, contract ->> 'goal' AS goal,
    CASE WHEN t.round > 1 THEN (
        SELECT count(DISTINCT r.plan_id) FROM rounds r WHERE r.task_id = t.id
    ) ELSE t.round END AS plans
FROM tasks t
WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s;

-- name: count_open
-- Count a tenant's open tasks up to a limit.
SELECT count(*)
FROM (
    SELECT FROM tasks t
    WHERE t.tenant = %(tenant)s AND t.status IN ('queued', 'processing')
    LIMIT %(limit)s
) open;

-- name: steps_of
-- Read the latest row of every step, in the plan's order. A reused result is read from its own row. A task that was
-- planned again has rows of steps that its plan no longer has. Before the task has a plan these are the steps that
-- began early. Of a step with for_each the items are counted by state. Each row has the number of the task's last
-- event, of the same snapshot.
SELECT latest.*, CASE
    WHEN t.round <= 1 THEN true
    ELSE EXISTS (
        SELECT
        FROM rounds r, jsonb_array_elements(r.plan -> 'steps') AS planned (step)
        WHERE r.task_id = t.id AND r.number = t.round AND planned.step ->> 'id' = latest.name
    )
END AS is_planned, (
    SELECT jsonb_object_agg(counted.state, counted.items)
    FROM (
        SELECT i.state, count(*) AS items
        FROM steps i
        WHERE i.task_id = %(task_id)s AND i.round = latest.round AND i.parent = latest.name AND i.spec ? 'item'
        GROUP BY i.state
    ) counted
    WHERE latest.spec ->> 'part' = 'gather'
) AS items, t.event_seq
FROM tasks t, (
    SELECT DISTINCT ON (s.name)
        s.id, s.round, s.name, s.arm, s.state, s.attempt, s.failures, s.spec, coalesce(s.result, origin.result),
        s.queued_at, s.started_at, s.finished_at, origin.task_id AS reused_from
    FROM steps s
    LEFT JOIN steps origin ON origin.id = s.reuses
    WHERE s.task_id = %(task_id)s AND s.kind = 'step' AND s.parent IS NULL
        AND (s.round > 0 OR (SELECT t.round FROM tasks t WHERE t.id = %(task_id)s) = 0)
    ORDER BY s.name, s.round DESC
) latest
WHERE t.id = %(task_id)s
ORDER BY (latest.spec ->> 'position')::int, latest.name;

-- name: waits
-- List what a task waits for: arms that its queued steps need and that have no live pool taking work, and the pending
-- approvals.
SELECT DISTINCT s.arm, NULL::text AS id, NULL::text AS step, NULL::text AS kind, NULL::text AS ask,
    NULL::text AS assignee, NULL::timestamptz AS expires_at
FROM steps s
WHERE s.task_id = %(task_id)s
    AND s.state = 'queued'
    AND NOT EXISTS (
        SELECT FROM pools p
        WHERE p.queue = s.queue
            AND p.unavailable IS NULL
            AND p.seen_at > now() - make_interval(secs => %(within_seconds)s)
    )
UNION ALL
SELECT NULL, a.id, a.step, a.kind, a.ask, a.assignee, a.expires_at
FROM approvals a
WHERE a.task_id = %(task_id)s AND a.state = 'pending'
ORDER BY arm, expires_at, id;

-- name: lock_task
-- Lock the task's row, after its chord's and before its steps'.
SELECT t.id, t.tenant, t.status, t.phase, t.round, t.plan_id, t.priority, t.contract, t.percentage,
    t.leads, t.has_gates, t.created_at, t.deadline_at, t.finished_at, t.deadline_at <= now() AS is_past_deadline,
    extract(epoch FROM now() - t.created_at)::float8 AS age_seconds, t.trace_context
FROM tasks t
WHERE t.id = %(task_id)s
FOR UPDATE;

-- name: current_round
-- Read the number of the task's current round without a lock; 0 before the first plan.
SELECT round
FROM tasks
WHERE id = %(task_id)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s);

-- name: past_deadline
-- Find open tasks past their deadline, oldest deadline first.
SELECT id
FROM tasks
WHERE finished_at IS NULL AND deadline_at <= now()
ORDER BY deadline_at, id
LIMIT %(limit)s;

-- name: finish_task
-- Write a task's end, unless it has one.
UPDATE tasks
SET status = %(status)s, phase = 'done', result = %(result)s::jsonb, error = %(error)s::jsonb,
    percentage = CASE WHEN %(status)s = 'completed' THEN 100 ELSE percentage END,
    fresh_until = CASE WHEN %(fresh_seconds)s > 0 THEN now() + %(fresh_seconds)s * interval '1 second' END,
    cache = coalesce(%(cache)s::jsonb, cache), finished_at = now(), updated_at = now()
WHERE id = %(task_id)s AND finished_at IS NULL;

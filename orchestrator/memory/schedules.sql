-- name: now
-- Read the clock that all times of schedules are compared with.
SELECT now();

-- name: create
-- Insert a schedule, unless the tenant has its number of them; concurrent calls may pass the limit by their number.
WITH made AS (
    INSERT INTO schedules (id, tenant, name, key_id, has_key, contract, cron, tz, every_seconds, anchor_at, starts_at,
        ends_at, jitter_seconds, overlap, catchup_seconds, pause_after_failures, next_at, due_at, paused_at, paused_reason)
    SELECT %(id)s, %(tenant)s, %(name)s, %(key_id)s, %(has_key)s, %(contract)s::jsonb, %(cron)s, %(tz)s,
        %(every_seconds)s, %(anchor_at)s, %(starts_at)s, %(ends_at)s, %(jitter_seconds)s, %(overlap)s, %(catchup_seconds)s,
        %(pause_after_failures)s, %(next_at)s, %(due_at)s,
        CASE WHEN %(paused)s THEN now() END, CASE WHEN %(paused)s THEN 'asked' END
    WHERE (SELECT count(*) FROM schedules s WHERE s.tenant = %(tenant)s) < %(max_schedules)s
    RETURNING *
), noted AS (
    INSERT INTO schedule_events (schedule_id, tenant, type, payload)
    SELECT id, tenant, 'schedule.created', jsonb_build_object('key_id', key_id)
    FROM made
)
SELECT *
FROM made;

-- name: change
-- Replace what a client may change, if the row still has the revision that was read. The failures before do not count.
WITH changed AS (
    UPDATE schedules
    SET name = %(name)s, key_id = %(key_id)s, has_key = %(has_key)s, contract = %(contract)s::jsonb, cron = %(cron)s,
        tz = %(tz)s, every_seconds = %(every_seconds)s, anchor_at = %(anchor_at)s, starts_at = %(starts_at)s,
        ends_at = %(ends_at)s, jitter_seconds = %(jitter_seconds)s, overlap = %(overlap)s, catchup_seconds = %(catchup_seconds)s,
        pause_after_failures = %(pause_after_failures)s, next_at = %(next_at)s, due_at = %(due_at)s,
        failures_from = now(), revision = revision + 1, updated_at = now()
    WHERE id = %(id)s AND tenant = %(tenant)s AND revision = %(revision)s
    RETURNING *
), noted AS (
    INSERT INTO schedule_events (schedule_id, tenant, type, payload)
    SELECT id, tenant, 'schedule.changed', jsonb_build_object('key_id', key_id, 'members', %(members)s::jsonb)
    FROM changed
)
SELECT *
FROM changed;

-- name: pause
-- Pause a schedule that is not paused; the reason is a person's.
SELECT octollm_pause_1(s.id, 'asked', jsonb_build_object('key_id', %(key_id)s::text))
FROM schedules s
WHERE s.id = %(id)s AND s.tenant = %(tenant)s AND s.paused_at IS NULL;

-- name: resume
-- End a pause, from the next time on, if the row still has the revision that was read; its tasks have the rights of
-- the key that resumes it.
WITH resumed AS (
    UPDATE schedules
    SET paused_at = NULL, paused_reason = NULL, key_id = %(key_id)s, has_key = %(has_key)s, next_at = %(next_at)s,
        due_at = %(due_at)s, failures_from = now(), revision = revision + 1, updated_at = now()
    WHERE id = %(id)s AND tenant = %(tenant)s AND revision = %(revision)s AND paused_at IS NOT NULL
    RETURNING *
), noted AS (
    INSERT INTO schedule_events (schedule_id, tenant, type, payload)
    SELECT id, tenant, 'schedule.resumed', jsonb_build_object('key_id', key_id)
    FROM resumed
)
SELECT *
FROM resumed;

-- name: delete
-- Delete a schedule with its events and what waits; its tasks stay.
DELETE FROM schedules
WHERE id = %(id)s AND tenant = %(tenant)s;

-- name: find
-- Read a schedule of a tenant.
SELECT s.*, now() AS read_at, (
    SELECT count(*) FROM schedule_waiting w WHERE w.schedule_id = s.id
) AS waiting
FROM schedules s
WHERE s.id = %(id)s AND s.tenant = %(tenant)s;

-- name: list
-- Read a page of a tenant's schedules, newest first, below an id.
SELECT s.*, now() AS read_at, (
    SELECT count(*) FROM schedule_waiting w WHERE w.schedule_id = s.id
) AS waiting
FROM schedules s
WHERE s.tenant = %(tenant)s
    AND (%(below)s::text IS NULL OR s.id < %(below)s)
    AND (%(name)s::text IS NULL OR s.name = %(name)s)
ORDER BY s.id DESC
LIMIT %(limit)s;

-- name: events
-- Read a page of a schedule's events, newest first, below a number, with what became of the tasks.
SELECT e.id, e.occurred_at, e.type, e.kind, e.scheduled_at, e.task_id, t.status AS task_status, e.reason, e.payload
FROM schedule_events e
LEFT JOIN tasks t ON t.id = e.task_id
WHERE e.schedule_id = %(id)s AND e.tenant = %(tenant)s
    AND (%(before)s::bigint IS NULL OR e.id < %(before)s)
    AND (%(types)s::text[] IS NULL OR e.type = ANY (%(types)s))
ORDER BY e.id DESC
LIMIT %(limit)s;

-- name: event
-- Read one event.
SELECT e.id, e.occurred_at, e.type, e.kind, e.scheduled_at, e.task_id, t.status AS task_status, e.reason, e.payload
FROM schedule_events e
LEFT JOIN tasks t ON t.id = e.task_id
WHERE e.id = %(event_id)s;

-- name: due
-- Find schedules whose time has come, the longest due first.
SELECT s.*, now() AS read_at, 0 AS waiting
FROM schedules s
WHERE s.paused_at IS NULL AND s.due_at <= now()
ORDER BY s.due_at, s.id
LIMIT %(limit)s;

-- name: ready
-- Find the oldest waiting fire of each schedule that is not paused and has no open task, or need not mind it. Tenants
-- take turns: one without room for a task leaves its fires waiting, and must not hold up the others. The index is
-- entered once a schedule: DISTINCT ON would read every fire that waits, each second.
WITH RECURSIVE oldest AS (
    (
        SELECT schedule_id, scheduled_at
        FROM schedule_waiting
        ORDER BY schedule_id, scheduled_at
        LIMIT 1
    )
    UNION ALL
    SELECT later.schedule_id, later.scheduled_at
    FROM oldest
    CROSS JOIN LATERAL (
        SELECT w.schedule_id, w.scheduled_at
        FROM schedule_waiting w
        WHERE w.schedule_id > oldest.schedule_id
        ORDER BY w.schedule_id, w.scheduled_at
        LIMIT 1
    ) later
)
SELECT s.*, now() AS read_at, 0 AS waiting, w.scheduled_at
FROM oldest w
JOIN schedules s ON s.id = w.schedule_id
WHERE s.paused_at IS NULL AND (
    s.overlap = 'allow'
    OR NOT EXISTS (SELECT FROM tasks t WHERE t.schedule_id = s.id AND t.finished_at IS NULL)
)
ORDER BY row_number() OVER (PARTITION BY s.tenant ORDER BY w.scheduled_at, s.id), w.scheduled_at, s.id
LIMIT %(limit)s;

-- name: open_tasks
-- List the open tasks of a schedule.
SELECT id
FROM tasks
WHERE schedule_id = %(id)s AND finished_at IS NULL
ORDER BY id;

-- name: fire
-- Decide about one fire of a schedule and do it; see migrations/sql/0030_schedules.sql.
SELECT outcome, event_id
FROM octollm_fire_1(
    %(id)s, %(revision)s, %(kind)s, %(fire_at)s, %(next_at)s, %(due_at)s, %(missed_from)s, %(missed_until)s,
    %(skip_reason)s, %(skip_detail)s, %(once)s, %(task_id)s, %(step_id)s, %(redispatch_seconds)s
);

-- name: add_backfill
-- Let times of the past wait for their turn, without those that started a task or wait already; return how many wait.
WITH asked AS (
    INSERT INTO schedule_waiting (schedule_id, tenant, scheduled_at, kind)
    SELECT s.id, s.tenant, asked.scheduled_at, 'backfill'
    FROM schedules s, unnest(%(times)s::timestamptz[]) AS asked (scheduled_at)
    WHERE s.id = %(id)s AND s.tenant = %(tenant)s AND NOT EXISTS (
        SELECT FROM schedule_events e
        WHERE e.schedule_id = s.id AND e.scheduled_at = asked.scheduled_at AND e.type = 'fire.started'
    )
    ON CONFLICT DO NOTHING
    RETURNING scheduled_at
), noted AS (
    INSERT INTO schedule_events (schedule_id, tenant, type, kind, payload)
    SELECT %(id)s, %(tenant)s, 'schedule.backfill', 'backfill', jsonb_build_object(
        'key_id', %(key_id)s::text, 'from', min(scheduled_at), 'until', max(scheduled_at), 'count', count(*)
    )
    FROM asked
    HAVING count(*) > 0
)
SELECT scheduled_at
FROM asked
ORDER BY scheduled_at;

-- name: started_times
-- Say which of these times of a schedule have started a task or wait.
SELECT e.scheduled_at
FROM schedule_events e
WHERE e.schedule_id = %(id)s AND e.scheduled_at = ANY (%(times)s::timestamptz[]) AND e.type = 'fire.started'
UNION
SELECT w.scheduled_at
FROM schedule_waiting w
WHERE w.schedule_id = %(id)s AND w.scheduled_at = ANY (%(times)s::timestamptz[]);

-- name: pass_on
-- Let a tenant's schedules of one key have the rights of its successor.
UPDATE schedules
SET key_id = %(successor_id)s, revision = revision + 1
WHERE key_id = %(key_id)s AND tenant = %(tenant)s;

-- name: forget_events
-- Delete old events, oldest first.
DELETE FROM schedule_events
WHERE id IN (
    SELECT id
    FROM schedule_events
    WHERE occurred_at < now() - make_interval(days => %(days)s)
    ORDER BY occurred_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
);

-- name: take_old_tasks
-- Lock tasks that ended long ago, oldest first; concurrent sweepers take different ones. A task that a retry refers
-- to is kept as long as the retry.
SELECT id
FROM tasks
WHERE finished_at < now() - make_interval(days => %(days)s)
    AND NOT EXISTS (SELECT FROM tasks retry WHERE retry.retry_of = tasks.id)
ORDER BY finished_at, id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED;

-- name: engine_ids
-- Read what the chord engine stores for these tasks: their rounds' chords and their steps' Celery ids.
SELECT
    ARRAY(SELECT chord_id FROM rounds WHERE task_id = ANY(%(ids)s)) AS chord_ids,
    ARRAY(SELECT id FROM steps WHERE task_id = ANY(%(ids)s)) AS step_ids;

-- name: delete_tasks
-- Delete tasks; their rows in other tables are deleted by cascade.
DELETE FROM tasks
WHERE id = ANY(%(ids)s);

-- name: delete_artifacts
-- Delete old files that no stored task or schedule has as an attachment, as a step's output or as a file that a step
-- saved, oldest first. OFFSET 0 keeps the planner from joining all tasks and steps: each file is looked up by index
-- until the batch is full (1,000,000 steps: 45 ms instead of 2,700). The index steps_stowed is in the default
-- collation, artifacts.sha256 is not.
DELETE FROM artifacts a
USING (
    SELECT f.tenant, f.sha256
    FROM artifacts f
    WHERE f.created_at < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (
            SELECT
            FROM tasks t
            WHERE t.tenant = f.tenant
                AND t.contract -> 'attachments' <> '[]'
                AND t.contract -> 'attachments' ? f.sha256
            OFFSET 0
        )
        AND NOT EXISTS (
            SELECT
            FROM schedules s
            WHERE s.tenant = f.tenant AND s.contract -> 'attachments' ? f.sha256
            OFFSET 0
        )
        AND NOT EXISTS (
            SELECT
            FROM steps s
            WHERE s.result ->> 'artifact' = f.sha256 COLLATE "default"
                AND (SELECT t.tenant FROM tasks t WHERE t.id = s.task_id) = f.tenant
            OFFSET 0
        )
        AND NOT EXISTS (
            SELECT
            FROM steps s
            WHERE s.result -> 'provenance' -> 'files' ? f.sha256
                AND (SELECT t.tenant FROM tasks t WHERE t.id = s.task_id) = f.tenant
            OFFSET 0
        )
    ORDER BY f.created_at, f.sha256
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) old
WHERE a.tenant = old.tenant AND a.sha256 = old.sha256;

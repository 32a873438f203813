-- name: store
-- Store a result. The first SUCCESS stays: a late duplicate does not overwrite it.
INSERT INTO results AS r (task_id, status, value, traceback, meta)
VALUES (%(task_id)s, %(status)s, %(value)s, %(traceback)s, %(meta)s)
ON CONFLICT (task_id) DO UPDATE
SET status = excluded.status,
    value = excluded.value,
    traceback = excluded.traceback,
    meta = excluded.meta,
    stored_at = now()
WHERE r.status <> 'SUCCESS'

-- name: read
-- Read the results of some tasks; a task that stored nothing has no row.
SELECT task_id, status, value, traceback, meta, stored_at
FROM results
WHERE task_id = ANY(%(task_ids)s)

-- name: forget
-- Delete a task's result.
DELETE FROM results
WHERE task_id = %(task_id)s

-- name: save_group
-- Store a group's result, replacing an older one.
INSERT INTO groups (group_id, value)
VALUES (%(group_id)s, %(value)s)
ON CONFLICT (group_id) DO UPDATE
SET value = excluded.value,
    saved_at = now()

-- name: read_group
-- Read a saved group.
SELECT value, saved_at
FROM groups
WHERE group_id = %(group_id)s

-- name: delete_group
-- Delete a saved group.
DELETE FROM groups
WHERE group_id = %(group_id)s

-- name: expire
-- Delete results and groups past their expiry.
WITH old_groups AS (
    DELETE FROM groups
    WHERE saved_at < now() - %(seconds)s * interval '1 second'
)
DELETE FROM results
WHERE stored_at < now() - %(seconds)s * interval '1 second'

-- name: store
-- Stores a result. The first SUCCESS stays: a late duplicate does not write over it.
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
-- Reads the results of some tasks; those that stored nothing have no row.
SELECT task_id, status, value, traceback, meta, stored_at
FROM results
WHERE task_id = ANY(%(task_ids)s)

-- name: forget
DELETE FROM results
WHERE task_id = %(task_id)s

-- name: save_group
INSERT INTO groups (group_id, value)
VALUES (%(group_id)s, %(value)s)
ON CONFLICT (group_id) DO UPDATE
SET value = excluded.value,
    saved_at = now()

-- name: read_group
SELECT value, saved_at
FROM groups
WHERE group_id = %(group_id)s

-- name: delete_group
DELETE FROM groups
WHERE group_id = %(group_id)s

-- name: expire
-- Deletes results and groups that nobody asked for in time.
WITH old_groups AS (
    DELETE FROM groups
    WHERE saved_at < now() - %(seconds)s * interval '1 second'
)
DELETE FROM results
WHERE stored_at < now() - %(seconds)s * interval '1 second'

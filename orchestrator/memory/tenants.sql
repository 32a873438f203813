-- name: revoke_keys
-- Revoke a tenant's keys; the rows stay and record when the keys ended.
UPDATE api_keys
SET revoked_at = now()
WHERE tenant = %(tenant)s AND revoked_at IS NULL

-- name: open_tasks
-- List a tenant's open tasks.
SELECT id
FROM tasks
WHERE tenant = %(tenant)s AND status IN ('queued', 'processing')
ORDER BY id
LIMIT %(limit)s

-- name: take_ended_tasks
-- Lock ended tasks of a tenant; a task that a retry refers to is taken after the retry.
SELECT id, cache_key
FROM tasks
WHERE tenant = %(tenant)s AND status IN ('completed', 'failed', 'cancelled')
    AND NOT EXISTS (SELECT FROM tasks retry WHERE retry.retry_of = tasks.id)
ORDER BY id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: delete_files
-- Delete a tenant's files with their chunks and their search index.
DELETE FROM artifacts a
USING (
    SELECT tenant, sha256
    FROM artifacts
    WHERE tenant = %(tenant)s
    ORDER BY sha256
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) batch
WHERE a.tenant = batch.tenant AND a.sha256 = batch.sha256

-- name: delete_schedules
-- Delete a tenant's schedules with their events and what waits.
DELETE FROM schedules
WHERE tenant = %(tenant)s

-- name: delete_submissions
-- Delete a tenant's submission names.
DELETE FROM submissions
WHERE tenant = %(tenant)s

-- name: delete_switches
-- Delete a tenant's switched-off cache layers.
DELETE FROM cache_switches
WHERE tenant = %(tenant)s

-- name: delete_arms
-- Delete a tenant's registered arms. Those for all tenants are withdrawn: open tasks of others may name them, and the
-- sweeper deletes them later.
WITH withdrawn AS (
    UPDATE registered_arms
    SET is_withdrawn = true,
        expires_at = least(expires_at, now())
    WHERE tenant = %(tenant)s AND is_shared
)
DELETE FROM registered_arms
WHERE tenant = %(tenant)s AND NOT is_shared

-- name: delete_declarations
-- Delete a tenant's declarations about arms.
DELETE FROM declarations
WHERE tenant = %(tenant)s

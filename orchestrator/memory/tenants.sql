-- name: revoke_keys
-- A tenant's keys hold no more; the rows stay, and say until when they held.
UPDATE api_keys
SET revoked_at = now()
WHERE tenant = %(tenant)s AND revoked_at IS NULL

-- name: open_tasks
SELECT id
FROM tasks
WHERE tenant = %(tenant)s AND status IN ('queued', 'processing')
ORDER BY id
LIMIT %(limit)s

-- name: take_ended_tasks
-- Ended tasks of a tenant; one that a retry still refers to comes after the retry.
SELECT id, cache_key
FROM tasks
WHERE tenant = %(tenant)s AND status IN ('completed', 'failed', 'cancelled')
    AND NOT EXISTS (SELECT FROM tasks retry WHERE retry.retry_of = tasks.id)
ORDER BY id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: delete_files
-- With their chunks, and what was made searchable of them.
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

-- name: delete_submissions
DELETE FROM submissions
WHERE tenant = %(tenant)s

-- name: delete_switches
DELETE FROM cache_switches
WHERE tenant = %(tenant)s

-- name: delete_declarations
DELETE FROM declarations
WHERE tenant = %(tenant)s

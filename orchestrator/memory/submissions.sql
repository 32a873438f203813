-- name: find
-- Read the task made by an earlier submission of this name that has not expired.
SELECT s.sha256, t.id, t.created_at, coalesce(t.contract -> 'redacted', '{}')
FROM submissions s
JOIN tasks t ON t.id = s.task_id
WHERE s.tenant = %(tenant)s AND s.name = %(name)s AND s.expires_at > now();

-- name: expire
-- End the time of a name: the next submission of it replaces this one.
UPDATE submissions
SET expires_at = now()
WHERE tenant = %(tenant)s AND name = %(name)s AND expires_at > now();

-- name: forget_expired
-- Delete expired names, oldest first.
DELETE FROM submissions
WHERE (tenant, name) IN (
    SELECT tenant, name
    FROM submissions
    WHERE expires_at <= now()
    ORDER BY expires_at, tenant, name
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
);

-- name: register
-- Upsert an arm: a repeated registration replaces its manifest and extends its life. No row: the arm belongs to another
-- tenant, or the tenant has its number of arms. Withdrawn ones count too, at five times the limit, so that registering
-- and deleting in turn can't fill the table. Concurrent registrations may pass the limit by their number.
INSERT INTO registered_arms (arm_id, tenant, is_shared, manifest, url, registered_by, expires_at)
SELECT
    %(arm_id)s, %(tenant)s, %(is_shared)s, %(manifest)s::jsonb, %(url)s, %(registered_by)s,
    now() + make_interval(secs => %(ttl_seconds)s)
FROM (
    SELECT count(*) AS rows, count(*) FILTER (WHERE NOT is_withdrawn) AS arms
    FROM registered_arms
    WHERE tenant = %(tenant)s AND arm_id <> %(arm_id)s
) others
WHERE others.arms < %(max_arms)s AND others.rows < 5 * %(max_arms)s
ON CONFLICT (arm_id) DO UPDATE
SET manifest = excluded.manifest,
    url = excluded.url,
    registered_by = excluded.registered_by,
    registered_at = CASE WHEN registered_arms.is_withdrawn THEN now() ELSE registered_arms.registered_at END,
    seen_at = now(),
    expires_at = excluded.expires_at,
    is_withdrawn = false
WHERE registered_arms.tenant = excluded.tenant AND registered_arms.is_shared = excluded.is_shared
RETURNING registered_at, expires_at, registered_at = seen_at AS is_new

-- name: beat
-- Extend the life of an arm that is not withdrawn.
UPDATE registered_arms
SET seen_at = now(),
    expires_at = now() + make_interval(secs => %(ttl_seconds)s)
WHERE arm_id = %(arm_id)s AND tenant = %(tenant)s AND NOT is_withdrawn
RETURNING expires_at

-- name: withdraw
-- Take an arm out of use; steps that name it keep its contract until the row is deleted.
UPDATE registered_arms
SET is_withdrawn = true,
    expires_at = least(expires_at, now())
WHERE arm_id = %(arm_id)s AND tenant = %(tenant)s AND NOT is_withdrawn

-- name: find
-- Read one arm, also an expired or withdrawn one.
SELECT arm_id, tenant, is_shared, manifest, url, expires_at, is_withdrawn,
    extract(epoch FROM now() - expires_at)::float8 AS expired_seconds
FROM registered_arms
WHERE arm_id = %(arm_id)s

-- name: offered
-- Read the arms that a tenant may name in a plan: its own and the shared ones, expired ones too.
SELECT arm_id, tenant, is_shared, manifest, url, expires_at, is_withdrawn,
    extract(epoch FROM now() - expires_at)::float8 AS expired_seconds
FROM registered_arms
WHERE (tenant = %(tenant)s OR is_shared) AND NOT is_withdrawn
ORDER BY arm_id

-- name: report_outage
-- Upsert until when an arm's breaker is open; a later end wins.
INSERT INTO arm_outages (arm, until, reason)
VALUES (%(arm)s, now() + make_interval(secs => %(seconds)s), %(reason)s)
ON CONFLICT (arm) DO UPDATE
SET until = greatest(arm_outages.until, excluded.until),
    reason = excluded.reason

-- name: end_outage
-- Forget an outage: the arm has answered.
UPDATE arm_outages
SET until = now()
WHERE arm = %(arm)s AND until > now()

-- name: forget
-- Delete arms that ended long ago and that no open task names.
DELETE FROM registered_arms r
USING (
    SELECT arm_id
    FROM registered_arms
    WHERE expires_at < now() - make_interval(secs => %(after_seconds)s)
        AND NOT EXISTS (
            SELECT
            FROM tasks t
            JOIN steps s ON s.task_id = t.id
            WHERE t.finished_at IS NULL AND s.arm = registered_arms.arm_id
        )
    ORDER BY expires_at, arm_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) old
WHERE r.arm_id = old.arm_id

-- name: forget_outages
-- Delete outages that are long over.
DELETE FROM arm_outages
WHERE until < now() - make_interval(secs => %(after_seconds)s)

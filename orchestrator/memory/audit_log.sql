-- name: append
-- Adds entries, in one trip however many they are. Their time is Postgres', less the seconds they waited to be written.
INSERT INTO audit_log (
    occurred_at, tenant, key_id, subject, address, action, object, outcome, reason, request_id, times
)
SELECT coalesce(occurred_at, now() - age_seconds * interval '1 second'), tenant, key_id, subject, address, action,
    object, outcome, reason, request_id, times
FROM jsonb_to_recordset(CAST(%(entries)s AS jsonb)) AS entry (
    occurred_at timestamptz,
    age_seconds double precision,
    tenant text,
    key_id text,
    subject text,
    address text,
    action text,
    object text,
    outcome text,
    reason text,
    request_id text,
    times integer
);

-- name: find
-- The newest entries that fit, the newest first; `action` is one, or what its name begins with before a full stop.
SELECT occurred_at, tenant, key_id, subject, address, action, object, outcome, reason, request_id, times
FROM audit_log
WHERE (CAST(%(tenant)s AS text) IS NULL OR tenant = %(tenant)s)
    AND (
        CAST(%(action)s AS text) IS NULL
        OR action = %(action)s
        OR starts_with(action, %(action)s || '.')
    )
    AND (CAST(%(outcome)s AS text) IS NULL OR outcome = %(outcome)s)
    AND (CAST(%(since)s AS timestamptz) IS NULL OR occurred_at >= %(since)s)
ORDER BY id DESC
LIMIT %(limit)s;

-- name: forget
-- Deletes the oldest entries that are too old; the table's trigger lets nobody delete younger ones. It locks nothing
-- beforehand: the right to lock is that to update, which nobody needs here.
DELETE FROM audit_log
WHERE id IN (
    SELECT id
    FROM audit_log
    WHERE occurred_at < now() - make_interval(days => %(days)s)
    ORDER BY occurred_at, id
    LIMIT %(limit)s
);

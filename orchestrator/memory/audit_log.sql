-- name: append
-- Insert entries in one statement. Each entry's time is Postgres' now() minus the seconds it waited to be written.
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
-- Read the newest matching entries, newest first. `action` matches a whole action or the part before its first dot.
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
-- Delete the oldest entries past their retention; the table's trigger refuses younger ones. Takes no row lock first:
-- locking a row needs the UPDATE right, which no process has on this table.
DELETE FROM audit_log
WHERE id IN (
    SELECT id
    FROM audit_log
    WHERE occurred_at < now() - make_interval(days => %(days)s)
    ORDER BY occurred_at, id
    LIMIT %(limit)s
);

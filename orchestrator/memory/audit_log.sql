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
-- Read the newest matching entries, newest first, of at most `window` of a tenant's between two times. `action` matches
-- a whole action or the part before its first dot. An entry is written up to seconds after it happened.
SELECT id, occurred_at, tenant, key_id, subject, address, action, object, outcome, reason, request_id, times
FROM (
    SELECT *
    FROM audit_log
    WHERE (CAST(%(tenant)s AS text) IS NULL OR tenant = %(tenant)s)
        AND (CAST(%(since)s AS timestamptz) IS NULL OR occurred_at >= %(since)s)
        AND (CAST(%(until)s AS timestamptz) IS NULL OR occurred_at < %(until)s)
        AND (
            CAST(%(before)s AS bigint) IS NULL
            OR (occurred_at, id) < (CAST(%(before_at)s AS timestamptz), CAST(%(before)s AS bigint))
        )
    ORDER BY occurred_at DESC, id DESC
    LIMIT %(window)s
) seen
WHERE (
        CAST(%(action)s AS text) IS NULL
        OR action = %(action)s
        OR starts_with(action, %(action)s || '.')
    )
    AND (CAST(%(outcomes)s AS text[]) IS NULL OR outcome = ANY (%(outcomes)s))
    AND (CAST(%(key_id)s AS text) IS NULL OR key_id = %(key_id)s)
ORDER BY occurred_at DESC, id DESC
LIMIT %(limit)s;

-- name: last_seen
-- Read the last entry that find looks at, if its window was full.
SELECT id, occurred_at
FROM audit_log
WHERE (CAST(%(tenant)s AS text) IS NULL OR tenant = %(tenant)s)
    AND (CAST(%(since)s AS timestamptz) IS NULL OR occurred_at >= %(since)s)
    AND (CAST(%(until)s AS timestamptz) IS NULL OR occurred_at < %(until)s)
    AND (
        CAST(%(before)s AS bigint) IS NULL
        OR (occurred_at, id) < (CAST(%(before_at)s AS timestamptz), CAST(%(before)s AS bigint))
    )
ORDER BY occurred_at DESC, id DESC
OFFSET %(window)s - 1
LIMIT 1;

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

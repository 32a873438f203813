-- name: wait
-- Bound each wait for a lock in this transaction.
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: lock
-- Take the migrations' advisory lock until the end of the transaction: one migration runs at a time.
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: holders
-- List sessions that may block a migration: first the holder of its advisory lock, then transactions that hold locks
-- on tables.
SELECT
    a.pid,
    a.application_name,
    a.state,
    round(extract(epoch FROM now() - coalesce(a.xact_start, a.state_change)))::integer AS seconds,
    bool_or(l.locktype = 'advisory') AS migrates
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
JOIN pg_database d ON d.oid = l.database
LEFT JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.granted
    AND d.datname = current_database()
    AND a.pid <> pg_backend_pid()
    AND (
        (l.locktype = 'advisory' AND l.classid = 0 AND l.objid = %(lock)s)
        OR (l.locktype = 'relation' AND n.nspname = current_schema())
    )
GROUP BY a.pid, a.application_name, a.state, a.xact_start, a.state_change
ORDER BY migrates DESC, seconds DESC, a.pid

-- name: enqueue
-- Queue the delivery of the task's last event, in the transaction that wrote the event and under the task's lock.
INSERT INTO webhooks (task_id, seq)
SELECT id, event_seq
FROM tasks
WHERE id = %(task_id)s;

-- name: take_due
-- Take deliveries to publish; each is due again when its message must count as lost.
WITH late AS MATERIALIZED (
    SELECT task_id, seq
    FROM webhooks
    WHERE state = 'pending' AND due <= now()
    ORDER BY due, task_id, seq
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE webhooks w
SET attempt = w.attempt + 1, due = now() + %(lease_seconds)s * interval '1 second'
FROM late
WHERE w.task_id = late.task_id AND w.seq = late.seq
RETURNING w.task_id, w.seq, w.attempt;

-- name: read
-- Read what to deliver; no row if another message has taken over.
SELECT w.task_id, w.seq, w.attempt, w.failures, t.tenant, t.contract ->> 'callback_url' AS url,
    e.type, e.occurred_at, e.payload, t.status, t.result, t.error
FROM webhooks w
JOIN tasks t ON t.id = w.task_id
JOIN events e ON e.task_id = w.task_id AND e.seq = w.seq
WHERE w.task_id = %(task_id)s AND w.seq = %(seq)s AND w.attempt = %(attempt)s AND w.state = 'pending';

-- name: record
-- Write an attempt's outcome and its trace entry; only the current attempt may. Without a delay it is the last
-- attempt.
WITH recorded AS (
    UPDATE webhooks
    SET state = %(state)s, reason = %(reason)s, http_status = %(http_status)s,
        failures = failures + (%(reason)s::text IS NOT NULL)::int,
        due = now() + %(delay_seconds)s::float8 * interval '1 second',
        finished_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
    WHERE task_id = %(task_id)s AND seq = %(seq)s AND attempt = %(attempt)s AND state = 'pending'
    RETURNING task_id, seq, state, reason, http_status, failures
)
INSERT INTO traces (task_id, round, kind, payload)
SELECT t.id, t.round, 'webhook', jsonb_build_object(
    'seq', recorded.seq, 'outcome', recorded.state, 'reason', recorded.reason,
    'http_status', recorded.http_status, 'failures', recorded.failures
)
FROM recorded
JOIN tasks t ON t.id = recorded.task_id;

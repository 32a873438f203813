-- name: write
-- Append events, numbered without gaps by a counter in the task's row, and trace entries. Takes the task's lock
-- unless the caller holds it. With `progress` the percentage rises to what the round has finished; it never falls.
WITH numbered AS (
    UPDATE tasks t
    SET event_seq = t.event_seq + %(count)s, updated_at = now(),
        percentage = CASE WHEN %(progress)s THEN greatest(t.percentage, (
            SELECT 5 + (85 * count(*) FILTER (WHERE s.state IN ('done', 'failed', 'skipped', 'cancelled')))
                / greatest(count(*), 1)
            FROM steps s
            WHERE s.task_id = %(task_id)s AND s.round = %(round)s AND s.kind = 'step'
        )) ELSE t.percentage END
    WHERE t.id = %(task_id)s
    RETURNING t.event_seq
), decided AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT %(task_id)s, %(round)s, taken.decision ->> 'kind', taken.decision -> 'payload'
    FROM jsonb_array_elements(%(decisions)s::jsonb) WITH ORDINALITY AS taken (decision, position)
    ORDER BY taken.position
)
INSERT INTO events (task_id, seq, occurred_at, type, payload)
SELECT %(task_id)s, numbered.event_seq - %(count)s + fact.position,
    coalesce((fact.event ->> 'at')::timestamptz, clock_timestamp()), fact.event ->> 'type', fact.event -> 'payload'
FROM numbered, jsonb_array_elements(%(events)s::jsonb) WITH ORDINALITY AS fact (event, position);

-- name: read
-- Read a task's events after a number, oldest first.
SELECT seq, occurred_at, type, payload
FROM events
WHERE task_id = %(task_id)s AND seq > %(after)s
ORDER BY seq
LIMIT %(limit)s;

-- name: read_after
-- Read new events of many tasks, each after its own number: one query for all streams of a process.
SELECT e.task_id, e.seq, e.occurred_at, e.type, e.payload
FROM unnest(%(ids)s::text[], %(afters)s::int[]) AS watched (task_id, after)
JOIN events e ON e.task_id = watched.task_id AND e.seq > watched.after
ORDER BY e.task_id, e.seq
LIMIT %(limit)s;

-- name: last_numbers
-- Read each task's last event number, to find events whose hint was lost. A deleted task has no row.
SELECT id, event_seq
FROM tasks
WHERE id = ANY(%(ids)s);

-- name: trace
-- Read a task's trace entries after an id, oldest first.
SELECT id, round, decided_at, kind, payload
FROM traces
WHERE task_id = %(task_id)s AND id > %(after)s
ORDER BY id
LIMIT %(limit)s;

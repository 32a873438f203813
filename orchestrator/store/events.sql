-- name: append
-- Numbers events by the task row's own counter, so that they have no gap and no double; the caller holds
-- the task's lock, or takes it here.
WITH numbered AS (
    UPDATE tasks
    SET event_seq = event_seq + %(count)s, updated_at = now()
    WHERE id = %(task_id)s
    RETURNING event_seq
)
INSERT INTO events (task_id, seq, type, payload)
SELECT %(task_id)s, numbered.event_seq - %(count)s + fact.position, fact.event ->> 'type', fact.event -> 'payload'
FROM numbered, jsonb_array_elements(%(events)s::jsonb) WITH ORDINALITY AS fact (event, position);

-- name: read
SELECT seq, occurred_at, type, payload
FROM events
WHERE task_id = %(task_id)s AND seq > %(after)s
ORDER BY seq
LIMIT %(limit)s;

-- name: decide
INSERT INTO traces (task_id, round, kind, payload)
SELECT %(task_id)s, %(round)s, taken.decision ->> 'kind', taken.decision -> 'payload'
FROM jsonb_array_elements(%(decisions)s::jsonb) WITH ORDINALITY AS taken (decision, position)
ORDER BY taken.position;

-- name: trace
SELECT id, round, decided_at, kind, payload
FROM traces
WHERE task_id = %(task_id)s AND id > %(after)s
ORDER BY id
LIMIT %(limit)s;

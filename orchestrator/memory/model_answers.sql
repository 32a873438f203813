-- name: record
-- Record a call to models in the task's trace and its answer for replays: one statement, as events.write is, whose lock
-- of the task it takes. Of a task at most `most` answers are kept.
WITH changed AS (
    UPDATE tasks t
    SET updated_at = now()
    WHERE t.id = %(task_id)s
    RETURNING t.id, t.tenant
), decided AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT id, %(round)s, 'model', %(decision)s::jsonb
    FROM changed
)
INSERT INTO model_answers (
    task_id, tenant, step, round, attempt, purpose, work, request_sha256, messages, room, answer_sha256, answer
)
SELECT changed.id, changed.tenant, %(step)s, %(round)s, %(attempt)s, kept.purpose, kept.work, kept.request_sha256,
    ARRAY(SELECT jsonb_array_elements_text(kept.messages)), kept.room, kept.answer_sha256, kept.answer
FROM changed
CROSS JOIN jsonb_to_record(%(kept)s::jsonb) AS kept (
    purpose text, work text, request_sha256 text, messages jsonb, room integer, answer_sha256 text, answer jsonb
)
WHERE (SELECT count(*) FROM model_answers a WHERE a.task_id = changed.id) < %(most)s;

-- name: of_step
-- Read what models answered a step of a task, and of those that the task repeats: the task's own first, then the oldest
-- first. All of them must be the tenant's.
WITH RECURSIVE chain (id, retry_of, depth) AS (
    SELECT t.id, t.retry_of, 0
    FROM tasks t
    WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s
    UNION ALL
    SELECT t.id, t.retry_of, chain.depth + 1
    FROM chain
    JOIN tasks t ON t.id = chain.retry_of
    WHERE t.tenant = %(tenant)s AND chain.depth < 50
)
SELECT a.round, a.attempt, a.purpose, a.work, a.request_sha256, a.messages, a.room, a.answer
FROM chain
JOIN model_answers a ON a.task_id = chain.id AND a.step = %(step)s
WHERE a.answer IS NOT NULL
ORDER BY chain.depth, a.id
LIMIT %(limit)s;

-- name: result_of
-- Read the result that a step of a task had, in this round or the last one before it, or in a task that it repeats.
WITH RECURSIVE chain (id, retry_of, depth) AS (
    SELECT t.id, t.retry_of, 0
    FROM tasks t
    WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s
    UNION ALL
    SELECT t.id, t.retry_of, chain.depth + 1
    FROM chain
    JOIN tasks t ON t.id = chain.retry_of
    WHERE t.tenant = %(tenant)s AND chain.depth < 50
)
SELECT s.id, s.result
FROM chain
JOIN steps s ON s.task_id = chain.id AND s.name = %(step)s AND s.kind = 'step'
WHERE s.state = 'done' AND s.reuses IS NULL AND (chain.depth > 0 OR s.round <= %(round)s)
ORDER BY chain.depth, s.round DESC
LIMIT 1;

-- name: hashes_of
-- Read the hashes of what models answered rows of steps, with those of their items, in the order of the calls.
SELECT s.id, array_agg(a.answer_sha256 ORDER BY a.step, a.id) AS hashes
FROM steps s
JOIN model_answers a ON a.task_id = s.task_id AND a.round = s.round AND split_part(a.step, '[', 1) = s.name
WHERE s.id = ANY(%(ids)s)
GROUP BY s.id;

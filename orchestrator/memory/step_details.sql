-- name: find
-- Read a step's row of a round, or its latest one up to that round, whose result the round kept; without a round the
-- latest one. A reused result is read from the row that holds it, with the outputs that were its inputs.
SELECT s.id, s.kind, s.name, s.round, s.arm, s.state, s.attempt, s.failures, s.kills, s.owner, s.spec - 'permit' AS spec,
    coalesce(origin.bindings, s.bindings) AS bindings, coalesce(s.result, origin.result) AS result, s.queued_at,
    s.started_at, s.finished_at, s.not_before, origin.task_id AS origin_task, origin.name AS origin_name,
    origin.round AS origin_round,
    ARRAY(
        SELECT other.round FROM steps other WHERE other.task_id = s.task_id AND other.name = s.name ORDER BY other.round
    ) AS rounds
FROM steps s
LEFT JOIN steps origin ON origin.id = s.reuses
WHERE s.task_id = %(task_id)s AND s.name = %(name)s AND s.round <= coalesce(%(round)s, s.round)
ORDER BY s.round DESC
LIMIT 1;

-- name: events
-- Read the events of one row, oldest first.
SELECT seq, occurred_at, type, payload
FROM events
WHERE task_id = %(task_id)s AND payload ->> 'step_id' = %(id)s
ORDER BY seq
LIMIT %(limit)s;

-- name: decisions
-- Read the decisions about one row, oldest first: those that name it, of its round's routing the part about its step,
-- and for a judge or a planner those that it made.
SELECT id, round, decided_at, kind, CASE
    WHEN kind = 'route' THEN jsonb_build_object(%(step)s::text, payload -> %(step)s)
    ELSE payload
END AS payload
FROM traces
WHERE task_id = %(task_id)s AND (
    payload ->> 'step_id' = %(id)s
    OR (kind = 'route' AND round IN (%(round)s, 0) AND payload ? %(step)s)
    OR (kind = ANY(%(kinds)s) AND round = %(round)s)
)
ORDER BY id
LIMIT %(limit)s;

-- name: items
-- Read a page of the items of a for_each in one round, in order, without their outputs.
SELECT s.name, (s.spec ->> 'index')::int AS place, s.spec -> 'item' AS item, s.state, s.attempt,
    coalesce(s.result, origin.result) #>> '{output,summary}' AS summary, coalesce(s.result, origin.result) -> 'error' AS error,
    origin.task_id AS reused_from, s.started_at, s.finished_at
FROM steps s
LEFT JOIN steps origin ON origin.id = s.reuses
WHERE s.task_id = %(task_id)s AND s.round = %(round)s AND s.parent = %(parent)s AND s.spec ? 'item'
    AND (s.spec ->> 'index')::int > %(after)s
ORDER BY (s.spec ->> 'index')::int
LIMIT %(limit)s;

-- name: count_items
-- Count the items of a for_each in one round by their state.
SELECT state, count(*) AS items
FROM steps
WHERE task_id = %(task_id)s AND round = %(round)s AND parent = %(parent)s AND spec ? 'item'
GROUP BY state;

-- name: outputs
-- Read the results that rows hold; a reused one from its own row.
SELECT s.id, s.task_id, s.name, s.round, coalesce(s.result, origin.result) AS result
FROM steps s
LEFT JOIN steps origin ON origin.id = s.reuses
WHERE s.id = ANY(%(ids)s);

-- name: beginning
-- Read the first bytes of a tenant's file.
SELECT substring(content FROM 1 FOR %(size)s)
FROM artifact_chunks
WHERE tenant = %(tenant)s AND sha256 = %(sha256)s AND number = 0;

-- name: add_items
-- Insert the rows of a for_each's items, and let the row that gathers them wait for those that are not done. The caller
-- holds the task's lock and closes the spread in the same transaction, so that the gather can't begin early. A repeated
-- spread finds its items and inserts nothing: its end is refused, and all is rolled back.
WITH work AS (
    INSERT INTO steps (
        id, task_id, round, kind, name, arm, queue, priority, chord_id, spec, bindings, unblocks, path_length, state,
        reuses, finished_at, tenant, gate, parent
    )
    SELECT new.id, new.task_id, new.round, 'step', new.name, new.arm, new.queue, new.priority, new.chord_id, new.spec,
        new.bindings, ARRAY[%(gather_id)s::text], new.path_length, new.state, new.reuses,
        CASE WHEN new.state = 'done' THEN now() END,
        (SELECT tenant FROM tasks WHERE id = %(task_id)s), new.gate, %(parent)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (
        id text, task_id text, round integer, name text, arm text, queue text, priority smallint, chord_id text,
        spec jsonb, bindings jsonb, path_length integer, state text, reuses text, gate text
    )
    ON CONFLICT (id) DO NOTHING
    RETURNING state, gate
), counted AS (
    SELECT count(*) FILTER (WHERE state <> 'done') AS open, bool_or(gate IS NOT NULL) AS has_gates FROM work
), gated AS (
    UPDATE tasks t
    SET has_gates = true
    FROM counted
    WHERE t.id = %(task_id)s AND counted.has_gates
)
UPDATE steps s
SET waiting = s.waiting + counted.open
FROM counted
WHERE s.id = %(gather_id)s AND s.state = 'blocked';

-- name: read_parts
-- Read the rows of a for_each in one round: its spread, and the items in order with their results.
SELECT s.name, s.state, (s.spec ->> 'index')::int AS place, coalesce(s.result, origin.result) AS result
FROM steps s
LEFT JOIN steps origin ON origin.id = s.reuses
WHERE s.task_id = %(task_id)s AND s.round = %(round)s AND s.parent = %(parent)s
ORDER BY (s.spec ->> 'index')::int NULLS FIRST;

-- name: earlier_items
-- Read the latest row of each item of a for_each up to a round, and whether an action that must not run twice took
-- effect in it, or may have: see the statement `results_of`.
SELECT DISTINCT ON (s.name) coalesce(s.reuses, s.id) AS id, (s.spec ->> 'index')::int AS index, s.state, s.spec - 'permit' AS spec,
    s.bindings, s.result -> 'error' AS error,
    bool_or(s.spec ? 'once' AND (
        s.state = 'done' OR s.spec ? 'repeats' OR (s.state = 'cancelled' AND s.effect_attempt IS NOT NULL)
        OR (s.state = 'failed' AND s.result #>> '{error,code}' = 'outcome_unknown')
        OR (s.state = 'failed' AND s.result #> '{error,details,may_have_acted}' = 'true')
        OR EXISTS (
            SELECT
            FROM approvals a
            WHERE a.step_id = s.id AND a.kind = 'outcome' AND a.state IN ('accepted', 'rejected', 'expired')
        )
    )) OVER (PARTITION BY s.name) AS took_effect
FROM steps s
WHERE s.task_id = %(task_id)s AND s.parent = %(parent)s AND s.round <= %(round)s AND s.spec ? 'item'
ORDER BY s.name, s.round DESC;

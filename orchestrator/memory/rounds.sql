-- name: save
-- Insert a round with its steps, move the task into it, and write its events and trace, all in one statement: root
-- steps are published soon after the plan is made. The caller holds the task's lock.
WITH round AS (
    INSERT INTO rounds (task_id, number, plan_id, chord_id, plan)
    VALUES (%(task_id)s, %(number)s, %(plan_id)s, %(chord_id)s, %(plan)s::jsonb)
), work AS (
    INSERT INTO steps (
        id, task_id, round, kind, name, arm, queue, priority, chord_id, spec, bindings, waiting, unblocks, path_length,
        state, sends, due, queued_at, reuses, finished_at, tenant, gate, parent
    )
    SELECT new.id, new.task_id, new.round, new.kind, new.name, new.arm, new.queue, new.priority, new.chord_id, new.spec,
        new.bindings, new.waiting, ARRAY(SELECT jsonb_array_elements_text(new.unblocks)), new.path_length, new.state,
        (new.state = 'queued')::int,
        CASE WHEN new.state = 'queued' THEN now() + %(redispatch_seconds)s * interval '1 second' END,
        CASE WHEN new.state = 'queued' THEN now() END, new.reuses, CASE WHEN new.state = 'done' THEN now() END,
        (SELECT tenant FROM tasks WHERE id = %(task_id)s), new.gate, new.parent
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (
        id text, task_id text, round integer, kind text, name text, arm text, queue text, priority smallint,
        chord_id text, spec jsonb, bindings jsonb, waiting integer, unblocks jsonb, path_length integer, state text,
        reuses text, gate text, parent text
    )
), numbered AS (
    UPDATE tasks t
    SET round = %(number)s, plan_id = %(plan_id)s, phase = %(phase)s, status = 'processing',
        percentage = greatest(t.percentage, 5), event_seq = t.event_seq + %(count)s, updated_at = now(),
        has_gates = t.has_gates OR %(has_gates)s
    WHERE t.id = %(task_id)s
    RETURNING t.event_seq
), decided AS (
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT %(task_id)s, %(number)s, taken.decision ->> 'kind', taken.decision -> 'payload'
    FROM jsonb_array_elements(%(decisions)s::jsonb) WITH ORDINALITY AS taken (decision, position)
    ORDER BY taken.position
)
INSERT INTO events (task_id, seq, type, payload)
SELECT %(task_id)s, numbered.event_seq - %(count)s + fact.position, fact.event ->> 'type', fact.event -> 'payload'
FROM numbered, jsonb_array_elements(%(events)s::jsonb) WITH ORDINALITY AS fact (event, position);

-- name: plan_again
-- Insert the row of a planner that makes another plan after a round, and say that the task is planned. The caller holds
-- the locks of the round's chord, which it has closed, and of the task.
WITH task AS (
    UPDATE tasks
    SET phase = 'planning', updated_at = now()
    WHERE id = %(task_id)s
    RETURNING id, tenant
)
INSERT INTO steps (id, task_id, tenant, round, kind, name, arm, queue, priority, state, due, queued_at, sends, spec)
SELECT %(id)s, task.id, task.tenant, %(round)s, 'plan', %(name)s, %(arm)s, %(queue)s, %(broker_priority)s, 'queued',
    now() + %(redispatch_seconds)s * interval '1 second', now(), 1, %(spec)s::jsonb
FROM task;

-- name: history
-- Read all rounds of a task, the first one first.
SELECT number, plan_id, chord_id, plan, verdict
FROM rounds
WHERE task_id = %(task_id)s
ORDER BY number;

-- name: save_verdict
-- Store the judge's verdict on a round.
UPDATE rounds
SET verdict = %(verdict)s::jsonb, concluded_at = now()
WHERE task_id = %(task_id)s AND number = %(number)s;

-- name: read_results
-- Read what the judge of a round needs: the latest row of every step up to this round, as the statement `results_of`
-- does (not those of a for_each, which its own row gathers), and in the first row the plan and the parts of the task's cache key.
SELECT CASE WHEN row_number() OVER (ORDER BY latest.name) = 1 THEN r.plan END AS plan,
    CASE WHEN row_number() OVER (ORDER BY latest.name) = 1 THEN t.cache_parts END AS cache_parts, latest.*
FROM rounds r
JOIN tasks t ON t.id = r.task_id
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (s.name) coalesce(s.reuses, s.id) AS id, coalesce(origin.task_id, s.task_id) AS task_id, s.name,
        coalesce(s.spec ->> 'arm', s.arm) AS arm, s.spec ->> 'action' AS action, s.state, s.round, coalesce(s.result, origin.result) AS result,
        s.spec ->> 'feedback' IS NOT NULL AS was_repaired
    FROM steps s
    LEFT JOIN steps origin ON origin.id = s.reuses
    WHERE s.task_id = r.task_id AND s.kind = 'step' AND s.round BETWEEN 1 AND r.number AND s.parent IS NULL
    ORDER BY s.name, s.round DESC
) latest
WHERE r.task_id = %(task_id)s AND r.number = %(number)s
ORDER BY latest.name;

-- name: read
-- Read one round of a task.
SELECT number, plan_id, chord_id, plan, verdict
FROM rounds
WHERE task_id = %(task_id)s AND number = %(number)s;

-- Early steps: first steps of a plan that begin while a model still writes it (docs/decisions/0030-steps-begin-early.md).
-- Until a plan is adopted they are rows of round 0, of no chord; then they move into round 1, or are cancelled.

ALTER TABLE steps DROP CONSTRAINT steps_step_has_chord;
-- NOT VALID: the rows that are there were checked by the stricter constraint
ALTER TABLE steps ADD CONSTRAINT steps_step_has_chord
    CHECK ((kind = 'step' AND round > 0) = (chord_id IS NOT NULL)) NOT VALID;

-- Inserts early steps for the current attempt at a task's plan, and queues those that find a free slot; the others are
-- held. Locks the task: an attempt that was taken over, a task that has ended and a task with a round insert nothing.
-- A step of the same name that began before, for an earlier answer or attempt, stays as it is. `work` has the rows in
-- the plan's order, `routes` the routing decision of each. Returns what is to be published, null if nothing was
-- inserted.
CREATE FUNCTION octollm_begin_early_1(
    of_task text, of_plan text, of_attempt integer, work jsonb, routes jsonb, max_steps integer, max_parallel integer,
    redispatch_seconds float8
) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    of_tenant text;
    known integer;
    busy integer;
    messages jsonb;
    names text[];
    last_seq integer;
    sent integer;
BEGIN
    SELECT t.tenant INTO of_tenant FROM tasks t WHERE t.id = of_task AND t.finished_at IS NULL AND t.round = 0 FOR UPDATE;
    IF NOT FOUND OR NOT EXISTS (
        SELECT FROM steps p WHERE p.id = of_plan AND p.task_id = of_task AND p.state = 'running' AND p.attempt = of_attempt
    ) THEN
        RETURN NULL;
    END IF;
    SELECT count(*), count(*) FILTER (WHERE s.state IN ('queued', 'running')) INTO known, busy
    FROM steps s
    WHERE s.task_id = of_task AND s.round = 0 AND s.kind = 'step';
    WITH fresh AS (
        SELECT new.*, row_number() OVER (ORDER BY new.position) AS place
        FROM ROWS FROM (
            jsonb_to_recordset(work) AS (id text, name text, arm text, queue text, priority smallint, spec jsonb)
        ) WITH ORDINALITY AS new (id, name, arm, queue, priority, spec, position)
        WHERE NOT EXISTS (SELECT FROM steps s WHERE s.id = new.id)
    ), begun AS (
        INSERT INTO steps AS s (
            id, task_id, tenant, round, kind, name, arm, queue, priority, spec, state, sends, due, queued_at
        )
        SELECT f.id, of_task, of_tenant, 0, 'step', f.name, f.arm, f.queue, f.priority, f.spec,
            CASE WHEN f.place <= max_parallel - busy THEN 'queued' ELSE 'held' END,
            (f.place <= max_parallel - busy)::int,
            CASE WHEN f.place <= max_parallel - busy THEN now() + redispatch_seconds * interval '1 second' END,
            CASE WHEN f.place <= max_parallel - busy THEN now() END
        FROM fresh f
        WHERE f.place <= max_steps - known
        RETURNING s.name, s.state, s.spec, octollm_message_1(s) AS message
    )
    SELECT array_agg(b.name),
        jsonb_agg(b.message ORDER BY b.spec -> 'position') FILTER (WHERE b.state = 'queued')
    INTO names, messages
    FROM begun b;
    IF names IS NULL THEN
        RETURN NULL;
    END IF;
    sent := coalesce(jsonb_array_length(messages), 0);
    UPDATE tasks t SET event_seq = t.event_seq + sent, updated_at = now() WHERE t.id = of_task
    RETURNING t.event_seq INTO last_seq;
    INSERT INTO events (task_id, seq, type, payload)
    SELECT of_task, last_seq - sent + message.position, 'step.queued', jsonb_build_object(
        'step', message.value -> 'name', 'step_id', message.value -> 'id', 'round', 0, 'arm', message.value -> 'arm'
    )
    FROM jsonb_array_elements(messages) WITH ORDINALITY AS message (value, position);
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT of_task, 0, 'route', jsonb_object_agg(taken.key, taken.value)
    FROM jsonb_each(routes) AS taken
    WHERE taken.key = ANY(names);
    RETURN coalesce(messages, '[]');
END $$;

-- Makes early steps members of the round that was just saved. An attempt goes on; a held step may get a slot now. The
-- caller holds the task's lock. It runs with its owner's rights, because a process that saves rounds may not change what
-- a step is to do: only a step of round 0 is changed, and only into one of the task's present round.
CREATE FUNCTION octollm_move_early_1(of_task text, work jsonb, redispatch_seconds float8) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE steps s
    SET round = r.number, chord_id = r.chord_id, spec = new.spec,
        unblocks = ARRAY(SELECT jsonb_array_elements_text(new.unblocks)), path_length = new.path_length,
        priority = new.priority, state = new.state, sends = s.sends + (s.state <> new.state)::int,
        queued_at = CASE WHEN s.state <> new.state THEN now() ELSE s.queued_at END,
        due = CASE WHEN s.state <> new.state THEN now() + redispatch_seconds * interval '1 second' ELSE s.due END
    FROM tasks t
    JOIN rounds r ON r.task_id = t.id AND r.number = t.round
    CROSS JOIN jsonb_to_recordset(work) AS new (
        id text, spec jsonb, unblocks jsonb, path_length integer, priority smallint, state text
    )
    WHERE t.id = of_task AND s.id = new.id AND s.task_id = t.id AND s.round = 0 AND s.kind = 'step'
$$;

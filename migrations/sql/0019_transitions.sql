-- The transitions of migration 0015 that must not be made at once for a task that waits for a person: they answer 'rare'
-- for a task with has_gates. octollm_adopt_1 and octollm_message_1 are unchanged.

-- Completes a step. Locks the chord, then the task. Closes the step's row by the rule of the statement `finish`, frees
-- its dependents, gives free slots to held steps as `release` does, appends events and the attempt's trace entry, and
-- counts the part. The row is the part: there is none in chord_parts. Rare: a step of the task waits or may wait for a
-- person. When no step of the round is left, the judge's row
-- is queued and its chord counts as fired, because the row is published by the caller or later by a sweeper.
-- `told` is a list of {type, payload}, the last of which gets the attempt's duration, as `decision` does.
CREATE FUNCTION octollm_complete_2(
    of_chord text, of_task text, of_round integer, of_step text, of_attempt integer, new_state text, new_result jsonb,
    told jsonb, decision jsonb, max_parallel integer, redispatch_seconds float8,
    OUT answer text, OUT current_round integer, OUT seconds float8, OUT messages jsonb
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    has_ended boolean;
    is_gated boolean;
    ended record;
    steps_all integer;
    steps_ended integer;
    steps_busy integer;
    steps_held integer;
    last_seq integer;
    facts integer := jsonb_array_length(told);
    released integer := 0;
    judge_is_due boolean := false;
    is_unannounced boolean;
    measured jsonb;
BEGIN
    PERFORM FROM chords c WHERE c.id = of_chord FOR UPDATE;
    SELECT t.finished_at IS NOT NULL, t.round, t.has_gates INTO has_ended, current_round, is_gated
    FROM tasks t
    WHERE t.id = of_task
    FOR UPDATE;
    IF has_ended IS NOT false THEN
        answer := 'ended';
        RETURN;
    ELSIF current_round <> of_round THEN
        answer := 'moved';
        RETURN;
    ELSIF is_gated THEN
        answer := 'rare';
        RETURN;
    END IF;

    UPDATE steps s
    SET state = new_state, result = new_result, due = NULL, finished_at = now()
    WHERE s.id = of_step AND s.chord_id = of_chord
        AND (
            (new_state = 'done' AND s.kind = 'step' AND s.state IN ('queued', 'running') AND s.attempt > 0)
            OR (s.state = 'running' AND s.attempt = of_attempt)
        )
    RETURNING s.kind, s.name, s.arm, s.attempt, s.owner, s.started_at, s.unblocks, s.unannounced INTO ended;
    IF NOT FOUND THEN
        answer := 'stale';
        RETURN;
    END IF;
    IF new_state = 'done' AND ended.unblocks <> '{}' THEN
        UPDATE steps d
        SET waiting = d.waiting - 1, state = CASE WHEN d.waiting = 1 THEN 'held' ELSE d.state END
        WHERE d.id = ANY(ended.unblocks) AND d.state = 'blocked';
    END IF;

    SELECT count(*), count(*) FILTER (WHERE s.state IN ('done', 'failed', 'skipped', 'cancelled')),
        count(*) FILTER (WHERE s.state IN ('queued', 'running')), count(*) FILTER (WHERE s.state = 'held')
    INTO steps_all, steps_ended, steps_busy, steps_held
    FROM steps s
    WHERE s.task_id = of_task AND s.round = of_round AND s.kind = 'step';
    IF steps_held > 0 AND steps_busy < max_parallel THEN
        WITH chosen AS (
            SELECT s.id
            FROM steps s
            WHERE s.task_id = of_task AND s.round = of_round AND s.state = 'held'
            ORDER BY s.path_length DESC, s.name, s.id
            LIMIT max_parallel - steps_busy
        ), queued AS (
            UPDATE steps s
            SET state = 'queued', sends = 1, queued_at = now(), not_before = now(),
                due = now() + redispatch_seconds * interval '1 second'
            FROM chosen
            WHERE s.id = chosen.id
            RETURNING octollm_message_1(s) AS message, s.path_length, s.name
        )
        SELECT count(*), jsonb_agg(queued.message ORDER BY queued.path_length DESC, queued.name)
        INTO released, messages
        FROM queued;
    ELSIF steps_held = 0 AND steps_busy = 0 THEN
        UPDATE steps s
        SET state = 'queued', sends = 1, queued_at = now(), not_before = now(),
            due = now() + redispatch_seconds * interval '1 second'
        WHERE s.task_id = of_task AND s.round = of_round AND s.kind = 'judge' AND s.state = 'blocked'
        RETURNING jsonb_build_array(octollm_message_1(s)) INTO messages;
        judge_is_due := FOUND;
    END IF;

    seconds := extract(epoch FROM now() - ended.started_at);
    measured := jsonb_build_object('duration_ms', round(seconds * 1000)::bigint);
    -- the attempt's start is told first, unless it was told while it ran
    is_unannounced := ended.unannounced IS NOT DISTINCT FROM ended.attempt;
    UPDATE tasks t
    SET event_seq = t.event_seq + is_unannounced::int + facts + released, updated_at = now(),
        percentage = greatest(t.percentage, 5 + 85 * steps_ended / greatest(steps_all, 1))
    WHERE t.id = of_task
    RETURNING t.event_seq INTO last_seq;
    IF is_unannounced THEN
        INSERT INTO events (task_id, seq, occurred_at, type, payload)
        VALUES (of_task, last_seq - facts - released, ended.started_at, 'step.started', jsonb_build_object(
            'step', ended.name, 'step_id', of_step, 'round', of_round, 'kind', ended.kind, 'arm', ended.arm,
            'attempt', ended.attempt, 'worker', ended.owner
        ));
    END IF;
    INSERT INTO events (task_id, seq, type, payload)
    SELECT of_task, last_seq - facts - released + fact.position, fact.event ->> 'type',
        CASE WHEN fact.position = facts THEN fact.event -> 'payload' || measured ELSE fact.event -> 'payload' END
    FROM jsonb_array_elements(told) WITH ORDINALITY AS fact (event, position);
    IF released > 0 THEN
        INSERT INTO events (task_id, seq, type, payload)
        SELECT of_task, last_seq - released + sent.position, 'step.queued', jsonb_build_object(
            'step', sent.message -> 'name', 'step_id', sent.message -> 'id', 'round', of_round,
            'arm', sent.message -> 'arm'
        )
        FROM jsonb_array_elements(messages) WITH ORDINALITY AS sent (message, position);
    END IF;
    INSERT INTO traces (task_id, round, kind, payload)
    VALUES (of_task, of_round, 'attempt', decision || measured || jsonb_build_object('worker', ended.owner));

    UPDATE chords c
    SET added = c.added + released, done = c.done + 1,
        state = CASE
            WHEN coalesce(c.done + 1 < c.size + c.added + released, true) THEN 'open'
            WHEN judge_is_due THEN 'fired'
            ELSE 'ready'
        END,
        ready_at = CASE WHEN c.done + 1 >= c.size + c.added + released THEN now() END
    WHERE c.id = of_chord AND c.state = 'open';
    answer := 'done';
END $$;

-- Ends a task whose result the judge did not reject: saves the verdict, skips blocked steps, and writes the end with the
-- events and trace entries. Locks the chord, then the task. Rare: a step of the task may wait for a
-- person, another row is open, a reservation is not settled, or other tasks follow this one. `told` is a list of {type, payload} that comes after the skipped steps.
CREATE FUNCTION octollm_finish_2(
    of_chord text, of_task text, of_round integer, of_step text, of_attempt integer, row_result jsonb,
    new_verdict jsonb, new_result jsonb, told jsonb, decisions jsonb, fresh_seconds integer,
    OUT answer text, OUT current_round integer, OUT priority text, OUT age_seconds float8
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    task record;
    skipped text[];
    last_seq integer;
    facts integer := jsonb_array_length(told);
BEGIN
    PERFORM FROM chords c WHERE c.id = of_chord FOR UPDATE;
    SELECT t.finished_at, t.round, t.leads, t.has_gates, t.contract ->> 'callback_url' AS callback_url INTO task
    FROM tasks t
    WHERE t.id = of_task
    FOR UPDATE;
    current_round := task.round;
    IF current_round IS NULL OR task.finished_at IS NOT NULL THEN
        answer := 'ended';
        RETURN;
    ELSIF task.round <> of_round THEN
        answer := 'moved';
        RETURN;
    ELSIF task.has_gates OR EXISTS (
        SELECT
        FROM steps s
        WHERE s.task_id = of_task AND s.state IN ('blocked', 'held', 'queued', 'running') AND s.id <> of_step
            AND NOT (s.round = of_round AND s.kind = 'step' AND s.state = 'blocked')
    ) OR EXISTS (SELECT FROM ledger l WHERE l.task_id = of_task AND l.settled_at IS NULL)
        OR (task.leads AND EXISTS (SELECT FROM tasks f WHERE f.leader_id = of_task AND f.finished_at IS NULL))
    THEN
        answer := 'rare';
        RETURN;
    END IF;
    UPDATE steps s
    SET state = 'done', result = row_result, due = NULL, finished_at = now()
    WHERE s.id = of_step AND s.chord_id IS NULL AND s.state = 'running' AND s.attempt = of_attempt;
    IF NOT FOUND THEN
        answer := 'stale';
        RETURN;
    END IF;

    UPDATE rounds r
    SET verdict = new_verdict, concluded_at = now()
    WHERE r.task_id = of_task AND r.number = of_round;
    WITH behind AS (
        UPDATE steps s
        SET state = 'skipped', finished_at = now()
        WHERE s.task_id = of_task AND s.round = of_round AND s.kind = 'step' AND s.state = 'blocked'
        RETURNING s.name
    )
    SELECT coalesce(array_agg(behind.name ORDER BY behind.name COLLATE "C"), '{}') INTO skipped FROM behind;
    UPDATE chords c SET state = 'closed' WHERE c.id = of_chord AND c.state IN ('open', 'ready');
    UPDATE tasks t
    SET status = 'completed', phase = 'done', result = new_result, error = NULL, percentage = 100,
        fresh_until = CASE WHEN fresh_seconds > 0 THEN now() + fresh_seconds * interval '1 second' END,
        finished_at = now(), updated_at = now(), event_seq = t.event_seq + cardinality(skipped) + facts
    WHERE t.id = of_task
    RETURNING t.event_seq, t.priority, extract(epoch FROM now() - t.created_at) INTO last_seq, priority, age_seconds;
    INSERT INTO events (task_id, seq, type, payload)
    SELECT of_task, last_seq - facts - cardinality(skipped) + behind.position, 'step.skipped',
        jsonb_build_object('step', behind.name, 'round', of_round)
    FROM unnest(skipped) WITH ORDINALITY AS behind (name, position)
    UNION ALL
    SELECT of_task, last_seq - facts + fact.position, fact.event ->> 'type', fact.event -> 'payload'
    FROM jsonb_array_elements(told) WITH ORDINALITY AS fact (event, position);
    INSERT INTO traces (task_id, round, kind, payload)
    SELECT of_task, of_round, taken.decision ->> 'kind', taken.decision -> 'payload'
    FROM jsonb_array_elements(decisions) WITH ORDINALITY AS taken (decision, position)
    ORDER BY taken.position;
    IF task.callback_url <> '' THEN
        INSERT INTO webhooks (task_id, seq) VALUES (of_task, last_seq);
    END IF;
    answer := 'done';
END $$;

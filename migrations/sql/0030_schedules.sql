-- Schedules: contracts that are submitted again and again, at the times of a cron line or every so many seconds.
CREATE TABLE schedules (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^sched_[0-9A-Za-z]{16}$'),
    tenant text NOT NULL,
    name text NOT NULL,
    -- its tasks have the rights of this key: without it the schedule pauses. A token that an operator signed has no key
    key_id text NOT NULL,
    has_key boolean NOT NULL,
    -- as a task's contract: screened, with the budget of the day it was written
    contract jsonb NOT NULL,
    cron text,
    tz text,
    every_seconds integer CHECK (every_seconds >= 60),
    -- the times of every_seconds are counted from here
    anchor_at timestamptz NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    jitter_seconds integer NOT NULL DEFAULT 0 CHECK (jitter_seconds >= 0),
    overlap text NOT NULL CHECK (overlap IN ('skip', 'queue_one', 'cancel_other', 'allow')),
    catchup_seconds integer NOT NULL CHECK (catchup_seconds > 0),
    pause_after_failures integer CHECK (pause_after_failures > 0),
    -- a task that ended before this time does not count as a failure
    failures_from timestamptz NOT NULL DEFAULT now(),
    -- the next time of the cron line, and when it fires: later by the jitter; null when no time is left
    next_at timestamptz,
    due_at timestamptz,
    paused_at timestamptz,
    paused_reason text,
    -- changes with every change: who fires it has checked the contract of this revision
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, name),
    CONSTRAINT schedules_one_rhythm CHECK ((cron IS NULL) <> (every_seconds IS NULL) AND (cron IS NULL) = (tz IS NULL)),
    CONSTRAINT schedules_due_after_next CHECK ((next_at IS NULL) = (due_at IS NULL) AND due_at >= next_at),
    CONSTRAINT schedules_pause_says_why CHECK ((paused_at IS NULL) = (paused_reason IS NULL))
);
CREATE INDEX schedules_due ON schedules (due_at, id) WHERE paused_at IS NULL;

-- What happened to a schedule. `type` is fire.started, fire.skipped, fire.waiting or schedule.*.
CREATE TABLE schedule_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id text COLLATE "C" NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    tenant text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    type text NOT NULL,
    -- scheduled, trigger or backfill
    kind text,
    scheduled_at timestamptz,
    task_id text COLLATE "C",
    reason text,
    payload jsonb NOT NULL DEFAULT '{}',
    -- the idempotency key of the request for it
    once text
);
CREATE INDEX schedule_events_of_schedule ON schedule_events (schedule_id, id);
CREATE INDEX schedule_events_by_time ON schedule_events (occurred_at);
-- the idempotency key of a fire, schedule:<id>:<scheduled_at>: no time of a schedule starts a second task
CREATE UNIQUE INDEX schedule_events_fire_once ON schedule_events (schedule_id, scheduled_at) WHERE type = 'fire.started';
CREATE UNIQUE INDEX schedule_events_ask_once ON schedule_events (schedule_id, once) WHERE once IS NOT NULL;

-- Fires that wait until the schedule's earlier task has ended.
CREATE TABLE schedule_waiting (
    schedule_id text COLLATE "C" NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    tenant text NOT NULL,
    scheduled_at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('scheduled', 'trigger', 'backfill')),
    PRIMARY KEY (schedule_id, scheduled_at)
);

ALTER TABLE tasks ADD COLUMN schedule_id text COLLATE "C", ADD COLUMN scheduled_at timestamptz;
CREATE INDEX tasks_by_schedule ON tasks (schedule_id, id DESC) WHERE schedule_id IS NOT NULL;

-- Decides about one fire of a schedule and does it, in one statement: the time passes, and a task starts, or an event
-- says why none does. Of several callers one gets the row; the others, and who has read an older revision, change
-- nothing. It runs with its owner's rights and takes the contract from the row: whoever may call it can start what a
-- client has scheduled, and nothing else.
--
-- `fire_kind` is scheduled (the row's own time: then `new_next` and `new_due` are its next ones), waiting (a row of
-- schedule_waiting) or trigger (now). `skip_reason` is set when the caller has found a reason not to fire.
-- A trigger with the `once_key` of an earlier one gets the earlier one's event.
-- The outcome is started, skipped, waiting, paused, repeated, busy (an open task is in the way: cancel it or come
-- later) or changed (someone else was here).
CREATE FUNCTION octollm_fire_1(
    of_schedule text, of_revision bigint, fire_kind text, fire_at timestamptz,
    new_next timestamptz, new_due timestamptz, missed_from timestamptz, missed_until timestamptz,
    skip_reason text, skip_detail text, once_key text, new_task text, plan_step text, redispatch_seconds float8
) RETURNS TABLE (outcome text, event_id bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    s schedules%ROWTYPE;
    kind_of_event text := fire_kind;
    open_task text;
    why text := skip_reason;
    detail text := skip_detail;
    level text;
    ends_at timestamptz;
BEGIN
    IF fire_kind = 'trigger' THEN
        -- a person waits for it: it does not give way to a sweeper
        SELECT * INTO s FROM schedules WHERE id = of_schedule FOR UPDATE;
        fire_at := now();
        SELECT e.id INTO event_id FROM schedule_events e WHERE e.schedule_id = s.id AND e.once = once_key;
        IF event_id IS NOT NULL THEN
            RETURN QUERY SELECT 'repeated', event_id;
            RETURN;
        END IF;
    ELSE
        SELECT * INTO s FROM schedules WHERE id = of_schedule FOR UPDATE SKIP LOCKED;
    END IF;
    IF s.id IS NULL OR s.revision <> of_revision OR fire_at > now()
        OR fire_kind <> 'trigger' AND s.paused_at IS NOT NULL
        OR fire_kind = 'scheduled' AND (
            s.due_at IS NULL OR s.due_at > now() OR fire_at < s.next_at OR new_next <= coalesce(fire_at, s.next_at)
        )
    THEN
        RETURN QUERY SELECT 'changed', NULL::bigint;
        RETURN;
    END IF;
    IF fire_kind = 'waiting' THEN
        SELECT w.kind INTO kind_of_event FROM schedule_waiting w WHERE w.schedule_id = s.id AND w.scheduled_at = fire_at;
        IF kind_of_event IS NULL THEN
            RETURN QUERY SELECT 'changed', NULL::bigint;
            RETURN;
        END IF;
    END IF;

    level := s.contract ->> 'priority';
    IF s.has_key AND NOT EXISTS (
        SELECT
        FROM api_keys k
        WHERE k.id = s.key_id AND k.tenant = s.tenant AND k.revoked_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > now())
            AND ('admin' = ANY (k.scopes)
                OR 'task:submit' = ANY (k.scopes) AND (level <> 'critical' OR 'task:critical' = ANY (k.scopes)))
    ) THEN
        RETURN QUERY SELECT 'paused', octollm_pause_1(s.id, 'key_lost', jsonb_build_object('key_id', s.key_id));
        RETURN;
    END IF;
    IF fire_kind <> 'trigger' AND s.pause_after_failures = (
        SELECT count(*) FILTER (WHERE ended.status = 'failed')
        FROM (
            SELECT t.status
            FROM tasks t
            WHERE t.schedule_id = s.id AND t.finished_at > s.failures_from AND t.status IN ('completed', 'failed')
            ORDER BY t.id DESC
            LIMIT s.pause_after_failures
        ) ended
    ) THEN
        RETURN QUERY
        SELECT 'paused', octollm_pause_1(s.id, 'failures', jsonb_build_object('failures', s.pause_after_failures));
        RETURN;
    END IF;

    SELECT t.id INTO open_task
    FROM tasks t
    WHERE t.schedule_id = s.id AND t.finished_at IS NULL
    ORDER BY t.id DESC
    LIMIT 1;
    IF fire_at IS NOT NULL AND why IS NULL AND open_task IS NOT NULL
        AND (s.overlap = 'cancel_other' OR fire_kind = 'waiting' AND s.overlap <> 'allow')
    THEN
        RETURN QUERY SELECT 'busy', NULL::bigint;
        RETURN;
    END IF;
    IF fire_kind = 'waiting' THEN
        DELETE FROM schedule_waiting w WHERE w.schedule_id = s.id AND w.scheduled_at = fire_at;
    ELSIF fire_kind = 'scheduled' THEN
        UPDATE schedules SET next_at = new_next, due_at = new_due, revision = revision + 1 WHERE id = s.id;
        IF missed_from IS NOT NULL THEN
            INSERT INTO schedule_events (schedule_id, tenant, type, kind, scheduled_at, reason, payload)
            VALUES (s.id, s.tenant, 'fire.skipped', 'scheduled', missed_from, 'catchup',
                jsonb_build_object('from', missed_from, 'until', missed_until))
            RETURNING id INTO event_id;
        END IF;
        IF fire_at IS NULL THEN
            RETURN QUERY SELECT 'skipped', event_id;
            RETURN;
        END IF;
    END IF;
    IF why IS NULL AND EXISTS (
        SELECT FROM schedule_events e
        WHERE e.schedule_id = s.id AND e.scheduled_at = fire_at AND e.type = 'fire.started'
    ) THEN
        why := 'fired_before';
    END IF;
    IF why IS NULL AND open_task IS NOT NULL AND s.overlap <> 'allow' THEN
        detail := open_task || ' has not ended.';
        IF s.overlap = 'queue_one' AND NOT EXISTS (
            SELECT FROM schedule_waiting w WHERE w.schedule_id = s.id AND w.kind <> 'backfill'
        ) THEN
            INSERT INTO schedule_waiting (schedule_id, tenant, scheduled_at, kind)
            VALUES (s.id, s.tenant, fire_at, kind_of_event);
            RETURN QUERY
            INSERT INTO schedule_events (schedule_id, tenant, type, kind, scheduled_at, reason, payload, once)
            VALUES (s.id, s.tenant, 'fire.waiting', kind_of_event, fire_at, 'overlap',
                jsonb_build_object('detail', detail), once_key)
            RETURNING 'waiting', id;
            RETURN;
        END IF;
        why := 'overlap';
    END IF;
    IF why IS NOT NULL THEN
        RETURN QUERY
        INSERT INTO schedule_events (schedule_id, tenant, type, kind, scheduled_at, reason, payload, once)
        VALUES (s.id, s.tenant, 'fire.skipped', kind_of_event, fire_at, why,
            jsonb_strip_nulls(jsonb_build_object('detail', detail)), once_key)
        RETURNING 'skipped', id;
        RETURN;
    END IF;

    ends_at := now() + (s.contract -> 'budget' ->> 'max_time_seconds')::int * interval '1 second';
    INSERT INTO tasks (id, tenant, key_id, request_id, priority, contract, deadline_at, event_seq, schedule_id,
        scheduled_at)
    VALUES (new_task, s.tenant, s.key_id,
        format('schedule:%s:%s', s.id, to_char(fire_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
        level, s.contract, ends_at, 1, s.id, fire_at);
    INSERT INTO steps (id, task_id, tenant, round, kind, name, arm, queue, priority, state, due, queued_at, sends, spec)
    VALUES (plan_step, new_task, s.tenant, 0, 'plan', '$plan', 'planner', 'planner',
        CASE level WHEN 'critical' THEN 0 WHEN 'high' THEN 3 WHEN 'medium' THEN 6 ELSE 9 END, 'queued',
        now() + redispatch_seconds * interval '1 second', now(), 1, '{}');
    INSERT INTO events (task_id, seq, type, payload)
    VALUES (new_task, 1, 'task.submitted', jsonb_build_object('priority', level, 'deadline_at', ends_at));
    INSERT INTO traces (task_id, round, kind, payload)
    VALUES
        (new_task, 0, 'schedule', jsonb_build_object(
            'schedule_id', s.id, 'name', s.name, 'kind', kind_of_event, 'scheduled_at', fire_at
        )),
        (new_task, 0, 'cache', jsonb_build_object('outcome', 'bypass', 'key', NULL));
    RETURN QUERY
    INSERT INTO schedule_events (schedule_id, tenant, type, kind, scheduled_at, task_id, once)
    VALUES (s.id, s.tenant, 'fire.started', kind_of_event, fire_at, new_task, once_key)
    RETURNING 'started', id;
END $$;

-- Pauses a schedule and says why in an event, whose number it returns.
CREATE FUNCTION octollm_pause_1(of_schedule text, why text, more jsonb) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH paused AS (
        UPDATE schedules
        SET paused_at = now(), paused_reason = why, revision = revision + 1, updated_at = now()
        WHERE id = of_schedule
        RETURNING id, tenant
    )
    INSERT INTO schedule_events (schedule_id, tenant, type, reason, payload)
    SELECT id, tenant, 'schedule.paused', why, more
    FROM paused
    RETURNING id
$$;

-- The roles' rights name who may call it (orchestrator/memory/roles.py).

DO $$
DECLARE
    name text;
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    FOREACH name IN ARRAY ARRAY['schedules', 'schedule_events', 'schedule_waiting'] LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO octollm_tenant', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I USING (current_user <> ''octollm_tenant'')', name);
        EXECUTE format(
            $policy$CREATE POLICY one_tenant ON %I TO octollm_tenant
            USING (tenant = nullif(current_setting('octollm.tenant', true), ''))$policy$, name
        );
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on schedules: % may not grant', current_user;
END $$;

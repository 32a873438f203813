-- Fair shares of the worker pools by queue: all arms that are registered at run time have the queue arm.remote, and
-- its workers serve them all. Processes of 0.3 call octollm_may_run and use the index steps_waiting, which stay.

CREATE INDEX steps_waiting_in_queue ON steps (queue, tenant, priority, queued_at) WHERE state = 'queued';

-- Returns whether a tenant may start one more step of a queue now. It may not if it runs `most_running` steps already.
-- If other tenants exist (with a task or a key), it also may not if it would take the last free slot of the queue's
-- live workers, or if another tenant with fewer running steps waits for the queue.
-- The claim calls it. Two claims of one tenant and queue run one after the other: the lock is held until the claim is
-- committed, and each statement of a volatile function sees what was committed before it. The lock is not that of
-- octollm_may_run: while processes of 0.3 run too, a tenant may get a step more than its share.
-- It runs with its owner's rights, because an arm's database user may lack the right to read keys.
CREATE FUNCTION octollm_may_run_2(step_queue text, step_tenant text, most_running integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER COST 100000 SET search_path FROM CURRENT
AS $$
DECLARE
    slots integer;
    running integer;
    other text;
BEGIN
    IF step_tenant IS NULL OR most_running IS NULL THEN
        RETURN true;
    END IF;
    IF (SELECT count(*) FROM steps WHERE state = 'running' AND tenant = step_tenant) >= most_running THEN
        RETURN false;
    END IF;
    IF NOT (
        coalesce((SELECT min(tenant) <> step_tenant OR max(tenant) <> step_tenant FROM tasks), false)
        OR EXISTS (
            SELECT FROM api_keys
            WHERE tenant <> step_tenant AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        )
    ) THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('octollm_may_run_2'), hashtext(step_queue || ' ' || step_tenant));
    SELECT count(*) INTO running FROM steps WHERE state = 'running' AND tenant = step_tenant AND queue = step_queue;
    IF running = 0 THEN
        RETURN true;
    END IF;
    SELECT sum(concurrency) INTO slots
    FROM pools
    WHERE queue = step_queue AND unavailable IS NULL AND seen_at > now() - interval '13 seconds';
    IF slots > 1 AND running >= slots - 1 THEN
        RETURN false;
    END IF;
    other := (SELECT min(tenant) FROM steps WHERE queue = step_queue AND state = 'queued');
    WHILE other IS NOT NULL LOOP
        IF other <> step_tenant
            AND EXISTS (
                SELECT FROM steps
                WHERE queue = step_queue AND tenant = other AND state = 'queued' AND not_before <= now()
            )
            AND (SELECT count(*) FROM steps WHERE state = 'running' AND tenant = other AND queue = step_queue) < running
            AND (SELECT count(*) FROM steps WHERE state = 'running' AND tenant = other) < most_running
        THEN
            RETURN false;
        END IF;
        other := (SELECT min(tenant) FROM steps WHERE queue = step_queue AND state = 'queued' AND tenant > other);
    END LOOP;
    RETURN true;
END $$;

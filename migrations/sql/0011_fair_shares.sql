-- Fair shares of the worker pools between tenants.

-- A copy of the task's tenant, for the indexes below. Null in rows inserted by an earlier release, whose shares are not
-- limited.
ALTER TABLE steps ADD COLUMN tenant text;
UPDATE steps s
SET tenant = t.tenant
FROM tasks t
WHERE t.id = s.task_id AND s.state IN ('blocked', 'held', 'queued', 'running');

CREATE INDEX steps_waiting ON steps (arm, tenant, priority, queued_at) WHERE state = 'queued';
CREATE INDEX steps_running_of_tenant ON steps (tenant, arm) WHERE state = 'running';
-- for the seconds a tenant's tools ran in the last 24 hours
CREATE INDEX steps_tools_of_tenant ON steps (tenant, finished_at)
    WHERE state IN ('done', 'failed') AND arm IN ('executor', 'coder');

-- Returns whether a tenant may start one more step of an arm now. It may not if it runs `most_running` steps already. If
-- other tenants exist (with a task or a key), it also may not if it would take the last free slot of the arm's live
-- workers, or if another tenant with fewer running steps waits for the arm.
-- The claim calls it. Two claims of one tenant and arm run one after the other: the lock is held until the claim is
-- committed, and each statement of a volatile function sees what was committed before it.
-- It runs with its owner's rights, because an arm's database user may lack the right to read keys.
CREATE FUNCTION octollm_may_run(step_arm text, step_tenant text, most_running integer) RETURNS boolean
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
    PERFORM pg_advisory_xact_lock(hashtext('octollm_may_run'), hashtext(step_arm || ' ' || step_tenant));
    SELECT count(*) INTO running FROM steps WHERE state = 'running' AND tenant = step_tenant AND arm = step_arm;
    IF running = 0 THEN
        RETURN true;
    END IF;
    SELECT sum(concurrency) INTO slots
    FROM pools
    WHERE arm = step_arm AND unavailable IS NULL AND seen_at > now() - interval '13 seconds';
    IF slots > 1 AND running >= slots - 1 THEN
        RETURN false;
    END IF;
    other := (SELECT min(tenant) FROM steps WHERE arm = step_arm AND state = 'queued');
    WHILE other IS NOT NULL LOOP
        IF other <> step_tenant
            AND EXISTS (
                SELECT FROM steps
                WHERE arm = step_arm AND tenant = other AND state = 'queued' AND not_before <= now()
            )
            AND (SELECT count(*) FROM steps WHERE state = 'running' AND tenant = other AND arm = step_arm) < running
            AND (SELECT count(*) FROM steps WHERE state = 'running' AND tenant = other) < most_running
        THEN
            RETURN false;
        END IF;
        other := (SELECT min(tenant) FROM steps WHERE arm = step_arm AND state = 'queued' AND tenant > other);
    END LOOP;
    RETURN true;
END $$;

-- The attempt that began an effect which must not happen twice: set just before its arm is called. Such a row is never
-- queued or claimed again by itself; a person decides (docs/decisions/0024-an-effect-runs-once.md).
ALTER TABLE steps
    ADD COLUMN effect_attempt integer,
    -- prevents a second run of a begun effect, whichever process tries it: only the decision clears the column.
    -- NOT VALID: the column is null in all rows that are there
    ADD CONSTRAINT steps_effect_runs_once CHECK (
        effect_attempt IS NULL
        OR state IN ('waiting', 'done', 'failed', 'cancelled')
        OR (state = 'running' AND effect_attempt = attempt)
    ) NOT VALID;

-- Withdraws the pending question about the effect of a step whose success arrived late. It runs with its owner's rights,
-- because the process of an arm may not change an approval.
CREATE FUNCTION octollm_withdraw_outcome_1(of_step text) RETURNS SETOF approvals LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT AS $$
    UPDATE approvals a
    SET state = 'withdrawn', decided_at = now(), settled = true
    FROM steps s
    WHERE s.id = of_step AND s.state = 'done' AND a.step_id = s.id AND a.kind = 'outcome' AND a.state = 'pending'
    RETURNING a.*
$$;

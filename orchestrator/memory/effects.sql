-- name: begin
-- Mark the effect of an attempt as begun, just before its arm is called, while its lease is live. A claim that waits
-- for this row sees the mark and does not take it. An action that may run again is not marked: for it the statement
-- only checks the lease. A step of which a person said what became of it never runs again: a message may come before
-- that is stored. No row: the attempt must not call the arm.
UPDATE steps s
SET effect_attempt = CASE WHEN %(once)s THEN s.attempt END
WHERE s.id = %(id)s AND s.state = 'running' AND s.attempt = %(attempt)s AND s.due > clock_timestamp()
    AND NOT EXISTS (
        SELECT
        FROM approvals a
        WHERE a.step_id = s.id AND a.kind = 'outcome' AND a.state IN ('accepted', 'rejected', 'expired')
    );

-- name: acted
-- Read which actions that must not run twice took effect in any round of a task, or may have: by the same rule as
-- `took_effect` in the statement `results_of`.
SELECT DISTINCT s.arm, s.spec ->> 'action' AS action
FROM steps s
WHERE s.task_id = %(task_id)s AND s.kind = 'step' AND s.spec ? 'once'
    AND (
        s.state = 'done' OR s.spec ? 'repeats' OR (s.state = 'cancelled' AND s.effect_attempt IS NOT NULL)
        OR (s.state = 'failed' AND s.result #>> '{error,code}' = 'outcome_unknown')
        OR (s.state = 'failed' AND s.result #> '{error,details,may_have_acted}' = 'true')
        OR EXISTS (
            SELECT
            FROM approvals a
            WHERE a.step_id = s.id AND a.kind = 'outcome' AND a.state IN ('accepted', 'rejected', 'expired')
        )
    );

-- name: find_begun
-- Read the chord of a row that runs with a begun effect, without a lock: the chord is locked before the row.
SELECT chord_id
FROM steps
WHERE id = %(id)s AND state = 'running' AND effect_attempt = attempt;

-- name: lose
-- Let a row wait for a person, because nobody can say whether its effect happened: its attempt says so itself, its owner
-- is gone, or its lease has expired, checked again under the lock because the owner may have renewed it. The mark stays,
-- so that a success which arrives late still counts. No row: another process was faster, or the owner is alive.
UPDATE steps
SET state = 'waiting', due = NULL
WHERE id = %(id)s AND state = 'running' AND effect_attempt = attempt
    AND (
        attempt = %(attempt)s OR owner = %(owner)s
        OR (%(attempt)s::int IS NULL AND %(owner)s::text IS NULL AND due < now())
    )
RETURNING id, task_id, name, arm, round, attempt, kills, owner, started_at;

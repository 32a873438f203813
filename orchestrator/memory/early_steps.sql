-- name: begin
-- Insert steps that begin before their plan is complete; see migrations/sql/0025_early_steps.sql.
SELECT octollm_begin_early_1(
    %(task_id)s, %(plan_id)s, %(attempt)s, %(rows)s::jsonb, %(routes)s::jsonb, %(max_steps)s, %(max_parallel)s,
    %(redispatch_seconds)s
);

-- name: lock
-- Lock a task's early steps and read them. The caller holds the task's lock, so that none is added; a claim at the same
-- time waits.
SELECT id, name, arm, state, spec
FROM steps
WHERE task_id = %(task_id)s AND round = 0 AND kind = 'step'
ORDER BY id
FOR UPDATE;

-- name: cancel
-- Close early steps that the plan does not have; the caller holds their locks.
UPDATE steps s
SET state = 'cancelled', due = NULL, finished_at = now()
FROM steps former
WHERE s.id = ANY(%(ids)s) AND former.id = s.id
RETURNING s.id, s.name, s.arm, s.kind, s.round, s.attempt, s.state, former.state AS former_state, s.owner, s.started_at,
    former.state <> 'running' OR s.unannounced IS DISTINCT FROM s.attempt AS is_announced,
    s.effect_attempt IS NOT NULL AS has_begun;

-- name: move
-- Make early steps members of the round that was just saved; see migrations/sql/0025_early_steps.sql.
SELECT octollm_move_early_1(%(task_id)s, %(rows)s::jsonb, %(redispatch_seconds)s);

-- name: place
-- Read in which round, and so in which chord, a step is now.
SELECT round, chord_id
FROM steps
WHERE id = %(id)s;

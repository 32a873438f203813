-- name: inputs_of
-- Read what the proposals of steps need: their spec, and the results of the steps whose outputs they refer to.
SELECT s.id, s.name, s.arm, s.round, s.spec, (
    SELECT jsonb_object_agg(bound.name, jsonb_build_object(
        'status', earlier.result -> 'status', 'output', earlier.result -> 'output',
        'artifact', earlier.result -> 'artifact'
    ))
    FROM jsonb_each_text(s.bindings) AS bound (name, id)
    JOIN steps earlier ON earlier.id = bound.id AND earlier.state = 'done'
) AS bound
FROM steps s
WHERE s.id = ANY(%(ids)s)
ORDER BY s.path_length DESC, s.name;

-- name: ask
-- Insert a pending approval about a step that has begun to wait, and put off the task's deadline by the wait.
SELECT a.*, (SELECT t.key_id FROM tasks t WHERE t.id = a.task_id) AS submitted_by
FROM octollm_ask_1(
    %(id)s, %(step_id)s, %(kind)s, %(proposal)s, %(proposal_hash)s, %(answer_schema)s, %(outcome)s
) AS a;

-- name: find
-- Read one approval of a tenant.
SELECT a.*, t.key_id AS submitted_by
FROM approvals a
JOIN tasks t ON t.id = a.task_id
WHERE a.id = %(id)s AND a.tenant = %(tenant)s;

-- name: list_approvals
-- Read a tenant's approvals, newest first, below an id.
SELECT a.*, t.key_id AS submitted_by
FROM approvals a
JOIN tasks t ON t.id = a.task_id
WHERE a.tenant = %(tenant)s
    AND (%(state)s::text IS NULL OR a.state = %(state)s)
    AND (%(task_id)s::text IS NULL OR a.task_id = %(task_id)s)
    AND (%(assignee)s::text IS NULL OR a.assignee = %(assignee)s)
    AND (%(before)s::text IS NULL OR a.id < %(before)s)
ORDER BY a.id DESC
LIMIT %(limit)s;

-- name: list_by_expiry
-- Read a tenant's approvals, those first that expire first, after one with a known id.
SELECT a.*, t.key_id AS submitted_by
FROM approvals a
JOIN tasks t ON t.id = a.task_id
WHERE a.tenant = %(tenant)s
    AND (%(state)s::text IS NULL OR a.state = %(state)s)
    AND (%(task_id)s::text IS NULL OR a.task_id = %(task_id)s)
    AND (%(assignee)s::text IS NULL OR a.assignee = %(assignee)s)
    AND (%(before)s::text IS NULL OR (a.expires_at, a.id) > (
        SELECT shown.expires_at, shown.id FROM approvals shown WHERE shown.id = %(before)s AND shown.tenant = %(tenant)s
    ))
ORDER BY a.expires_at, a.id
LIMIT %(limit)s;

-- name: decide
-- Record a decision, unless another came first, the approval has expired or another proposal was shown, and open the
-- step's gate in the same statement. The clock is read after the wait for the row: now() is the transaction's start.
WITH decided AS (
    UPDATE approvals a
    SET state = %(state)s, decided_by = %(decided_by)s, decided_at = clock_timestamp(), via = %(via)s,
        comment = %(comment)s, answer = %(answer)s::jsonb, once_name = %(once_name)s, once_sha256 = %(once_sha256)s
    WHERE a.id = %(id)s AND a.tenant = %(tenant)s AND a.state = 'pending'
        AND a.expires_at > clock_timestamp()
        AND a.proposal_hash = coalesce(%(proposal_hash)s, a.proposal_hash)
    RETURNING a.*
), released AS (
    UPDATE steps s
    SET state = 'queued', gate = CASE WHEN s.gate IS NULL THEN NULL ELSE 'open' END, sends = 1,
        effect_attempt = NULL, queued_at = now(), not_before = now(), due = now() + %(redispatch_seconds)s * interval '1 second'
    FROM decided
    WHERE s.id = decided.step_id AND s.state = 'waiting'
    RETURNING s.*
)
SELECT decided.*, (SELECT t.key_id FROM tasks t WHERE t.id = decided.task_id) AS submitted_by,
    to_jsonb(released) AS released
FROM decided
LEFT JOIN released ON true;

-- name: take_back
-- Shorten the task's deadline by the part of its waits that no pending approval needs any more.
SELECT octollm_take_back_1(%(task_id)s);

-- name: withdraw
-- Withdraw the pending approvals of a task that has just ended.
SELECT id, step, step_id, round, kind
FROM octollm_withdraw_1(%(task_id)s);

-- name: withdraw_outcome
-- Withdraw the pending question about the effect of a step that is done after all.
SELECT id, step, step_id, round, kind
FROM octollm_withdraw_outcome_1(%(step_id)s);

-- name: overdue
-- Find, without locking, what a sweeper does about approvals: those whose time is over (expire), those of whose expiry
-- nobody was warned (warn), and decisions that need no arm and whose step has no result yet (settle).
(
    SELECT id, task_id, 'expire' AS what
    FROM approvals
    WHERE state = 'pending' AND expires_at <= now()
    ORDER BY expires_at, id
    LIMIT %(limit)s
) UNION ALL (
    SELECT id, task_id, 'warn'
    FROM approvals
    WHERE state = 'pending' AND warn_at <= now()
    ORDER BY warn_at, id
    LIMIT %(limit)s
) UNION ALL (
    SELECT id, task_id, 'settle'
    FROM approvals
    WHERE NOT settled AND state IN ('rejected', 'answered', 'accepted', 'expired')
    ORDER BY decided_at, id
    LIMIT %(limit)s
);

-- name: expire
-- Record that an approval has expired, unless a person decided first, and open the step's gate. If the plan says so, the
-- step may run: that is recorded as the policy's approval.
WITH decided AS (
    UPDATE approvals a
    SET state = CASE WHEN a.on_expiry = 'approve' THEN 'approved' ELSE 'expired' END, via = 'policy',
        decided_at = clock_timestamp()
    WHERE a.id = %(id)s AND a.state = 'pending' AND a.expires_at <= clock_timestamp()
    RETURNING a.*
), released AS (
    UPDATE steps s
    SET state = 'queued', gate = CASE WHEN s.gate IS NULL THEN NULL ELSE 'open' END, sends = 1,
        effect_attempt = NULL, queued_at = now(), not_before = now(), due = now() + %(redispatch_seconds)s * interval '1 second'
    FROM decided
    WHERE s.id = decided.step_id AND s.state = 'waiting'
    RETURNING s.*
)
SELECT decided.*, (SELECT t.key_id FROM tasks t WHERE t.id = decided.task_id) AS submitted_by,
    to_jsonb(released) AS released
FROM decided
LEFT JOIN released ON true;

-- name: warn
-- Take the warning of an approval's expiry, once.
UPDATE approvals a
SET warn_at = NULL
WHERE a.id = %(id)s AND a.state = 'pending' AND a.warn_at <= now() AND a.expires_at > now()
RETURNING a.*, (SELECT t.key_id FROM tasks t WHERE t.id = a.task_id) AS submitted_by;

-- name: to_settle
-- Read decisions that need no arm, with the states of their steps and whether their tasks have ended.
SELECT a.*, s.state AS step_state, t.finished_at IS NOT NULL AS has_ended, t.key_id AS submitted_by
FROM approvals a
JOIN steps s ON s.id = a.step_id
JOIN tasks t ON t.id = a.task_id
WHERE a.id = ANY(%(ids)s) AND NOT a.settled
ORDER BY a.decided_at, a.id;

-- name: settle
-- Record that the steps of these decisions have their result.
UPDATE approvals
SET settled = true
WHERE id = ANY(%(ids)s);

-- name: last_of_step
-- Read the last approval or question about a step.
SELECT a.*, t.key_id AS submitted_by
FROM approvals a
JOIN tasks t ON t.id = a.task_id
WHERE a.step_id = %(step_id)s AND a.kind <> 'outcome'
ORDER BY a.asked_at DESC, a.id DESC
LIMIT 1;

-- name: pending_of_task
-- Read the pending approvals of a task, the first to expire first.
SELECT a.*, t.key_id AS submitted_by
FROM approvals a
JOIN tasks t ON t.id = a.task_id
WHERE a.task_id = %(task_id)s AND a.state = 'pending'
ORDER BY a.expires_at, a.id;

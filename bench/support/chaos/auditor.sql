-- name: prepare
-- What the client recorded, what was written outside, and the events' facts as columns: of this transaction only.
CREATE TEMPORARY TABLE accepted ON COMMIT DROP AS
SELECT task_id, kind, ARRAY(SELECT jsonb_array_elements_text(statuses)) AS statuses, outputs
FROM jsonb_to_recordset(%(accepted)s::jsonb) AS told (task_id text, kind text, statuses jsonb, outputs jsonb);
CREATE TEMPORARY TABLE effects ON COMMIT DROP AS
SELECT key, attempt, text
FROM jsonb_to_recordset(%(effects)s::jsonb) AS written (key text, attempt int, text text);
CREATE TEMPORARY TABLE facts ON COMMIT DROP AS
SELECT task_id, seq, type, occurred_at, payload ->> 'step_id' AS step_id, (payload ->> 'attempt')::int AS attempt,
    (payload ->> 'round')::int AS round
FROM events;
CREATE INDEX ON facts (step_id);
CREATE INDEX ON facts (task_id);
ANALYZE accepted;
ANALYZE facts;

-- name: task_lost
-- The API said 202, and there is no such task.
SELECT a.task_id AS subject, 'accepted, and not there' AS told
FROM accepted a
LEFT JOIN tasks t ON t.id = a.task_id
WHERE t.id IS NULL

-- name: task_unasked
-- A task that no client was told of: a submission that was repeated made two.
SELECT t.id AS subject, 'there, and not accepted' AS told
FROM tasks t
LEFT JOIN accepted a ON a.task_id = t.id
WHERE a.task_id IS NULL

-- name: task_open
-- An accepted task that reached no final state.
SELECT t.id AS subject, concat_ws(' ', t.status, t.phase, 'round', t.round) AS told
FROM tasks t
WHERE t.finished_at IS NULL

-- name: task_ended_wrong
-- An end that this task can't have.
SELECT t.id AS subject, concat_ws(' ', a.kind, 'ended as', t.status, t.error ->> 'code', t.error ->> 'details') AS told
FROM accepted a
JOIN tasks t ON t.id = a.task_id
WHERE t.finished_at IS NOT NULL AND t.status <> ALL (a.statuses)

-- name: step_open
-- Work that is left over: blocked, held, queued, or running under a lease.
SELECT s.id AS subject, concat_ws(' ', s.task_id, s.name, s.state, s.owner) AS told
FROM steps s
WHERE s.finished_at IS NULL

-- name: step_missing
-- A step of a completed task's plan that was not done in its last round.
SELECT a.task_id AS subject, concat_ws(' ', wanted.step, coalesce(last.state, 'has no row')) AS told
FROM accepted a
JOIN tasks t ON t.id = a.task_id AND t.status = 'completed'
CROSS JOIN LATERAL jsonb_object_keys(a.outputs) AS wanted (step)
LEFT JOIN LATERAL (
    SELECT s.state
    FROM steps s
    WHERE s.task_id = a.task_id AND s.name = wanted.step AND s.kind = 'step'
    ORDER BY s.round DESC
    LIMIT 1
) last ON true
WHERE last.state IS DISTINCT FROM 'done'

-- name: step_completed_twice
-- A step whose completion was told more than once.
SELECT f.step_id AS subject, concat_ws(' ', f.task_id, 'completed', count(*), 'times') AS told
FROM facts f
WHERE f.type = 'step.completed'
GROUP BY f.task_id, f.step_id
HAVING count(*) > 1

-- name: step_recorded_twice
-- A step of which two attempts say in the trace that they did it.
SELECT d.payload ->> 'step_id' AS subject, concat_ws(' ', d.task_id, count(*), 'attempts were recorded') AS told
FROM traces d
WHERE d.kind = 'attempt' AND d.payload ->> 'outcome' IN ('done', 'failed', 'skipped')
GROUP BY d.task_id, d.payload ->> 'step_id'
HAVING count(*) > 1

-- name: step_untold
-- A step's end without its event, or an event without its end. An item that takes an earlier result is told of by its
-- step's step.spread.
SELECT s.id AS subject, concat_ws(' ', s.task_id, s.name, 'is', s.state, 'and was told of', count(f.seq), 'times') AS told
FROM steps s
LEFT JOIN facts f ON f.step_id = s.id AND f.type = 'step.completed'
WHERE s.kind = 'step' AND NOT (s.parent IS NOT NULL AND s.reuses IS NOT NULL)
GROUP BY s.id
HAVING (s.state = 'done') <> (count(f.seq) > 0)

-- name: result_orphaned
-- A stored result of no work that is there.
SELECT r.task_id AS subject, r.status AS told
FROM results r
LEFT JOIN steps s ON s.id = r.task_id
WHERE s.id IS NULL

-- name: output_wrong
-- A value that is not what the plan says.
SELECT s.id AS subject,
    concat_ws(' ', s.task_id, s.name, member.key, 'is', s.result -> 'output' -> member.key, 'not', member.value) AS told
FROM accepted a
JOIN tasks t ON t.id = a.task_id AND t.status = 'completed'
CROSS JOIN LATERAL jsonb_each(a.outputs) AS wanted (step, members)
CROSS JOIN LATERAL jsonb_each(wanted.members) AS member
JOIN LATERAL (
    SELECT last.*
    FROM steps last
    WHERE last.task_id = a.task_id AND last.name = wanted.step AND last.kind = 'step'
    ORDER BY last.round DESC
    LIMIT 1
) s ON s.state = 'done'
WHERE s.result -> 'output' -> member.key IS DISTINCT FROM member.value

-- name: order_broken
-- A step that was started before one that it depends on was completed.
SELECT behind.id AS subject, concat_ws(' ', t.id, behind.name, 'started before', before.name, 'was done') AS told
FROM tasks t
CROSS JOIN LATERAL jsonb_array_elements(t.contract -> 'plan' -> 'steps') AS asked (step)
CROSS JOIN LATERAL jsonb_array_elements_text(asked.step -> 'depends_on') AS needed (name)
JOIN steps behind ON behind.task_id = t.id AND behind.kind = 'step' AND behind.name = asked.step ->> 'id'
JOIN steps before ON before.task_id = t.id AND before.round = behind.round AND before.name = needed.name
JOIN facts started ON started.step_id = behind.id AND started.type = 'step.started'
WHERE NOT EXISTS (
    SELECT
    FROM facts done
    WHERE done.step_id = before.id AND done.type = 'step.completed' AND done.seq < started.seq
)

-- name: item_miscounted
-- A step with for_each that is done, and whose output does not have one place for each row of an item, from 0 on.
SELECT g.id AS subject,
    concat_ws(' ', g.task_id, g.name, 'has', items.rows, 'items to', items.last, 'and put out', g.result #>> '{output,count}') AS told
FROM steps g
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, count(DISTINCT i.spec ->> 'index') AS indexes, max((i.spec ->> 'index')::int) AS last
    FROM steps i
    WHERE i.task_id = g.task_id AND i.round = g.round AND i.parent = g.name AND i.spec ? 'item'
) items
WHERE g.spec ->> 'part' = 'gather' AND g.state = 'done' AND g.result ->> 'artifact' IS NULL AND (
    items.rows <> (g.result #>> '{output,count}')::int
    OR items.rows <> jsonb_array_length(g.result #> '{output,items}')
    OR items.indexes <> items.rows OR coalesce(items.last + 1, 0) <> items.rows
)

-- name: gathered_early
-- A step with for_each that was gathered before all of its items had ended.
SELECT i.id AS subject, concat_ws(' ', i.task_id, i.name, i.state, 'when its step was gathered') AS told
FROM steps i
JOIN steps g ON g.task_id = i.task_id AND g.round = i.round AND g.name = i.parent AND g.state = 'done'
WHERE i.spec ->> 'part' = 'item' AND (
    i.state NOT IN ('done', 'failed', 'skipped') OR i.finished_at > g.started_at
)

-- name: lease_taken
-- An attempt that began though the lease of the one before it still held: nobody gave it back, and its time was not
-- over. A tenth is let pass: an attempt's start is told a little later than its lease begins.
SELECT later.step_id AS subject, concat_ws(' ', later.task_id, 'attempt', later.attempt, 'began',
    extract(epoch FROM later.occurred_at - former.occurred_at)::numeric(9, 3), 's after the one before') AS told
FROM facts later
JOIN facts former
    ON former.step_id = later.step_id AND former.type = 'step.started' AND former.attempt = later.attempt - 1
WHERE later.type = 'step.started'
    AND later.occurred_at - former.occurred_at < %(lease_seconds)s * 0.9 * interval '1 second'
    AND NOT EXISTS (
        SELECT
        FROM facts given_up
        WHERE given_up.step_id = later.step_id AND given_up.type IN ('step.retrying', 'step.outcome_unknown')
            AND given_up.attempt = former.attempt AND given_up.seq BETWEEN former.seq AND later.seq
    )

-- name: start_untold
-- An attempt whose start has no event.
SELECT s.id AS subject,
    concat_ws(' ', s.task_id, s.name, 'made', s.attempt, 'attempts and told of', count(DISTINCT f.attempt)) AS told
FROM steps s
LEFT JOIN facts f ON f.step_id = s.id AND f.type = 'step.started'
WHERE s.attempt > 0
GROUP BY s.id
HAVING count(DISTINCT f.attempt) <> s.attempt

-- name: attempt_doubled
-- Two claims with one fencing number.
SELECT f.step_id AS subject, concat_ws(' ', f.task_id, 'attempt', f.attempt, 'began', count(*), 'times') AS told
FROM facts f
WHERE f.type = 'step.started'
GROUP BY f.task_id, f.step_id, f.attempt
HAVING count(*) > 1

-- name: judged_not_once
-- A round whose verdict was told twice, or never, or that a completed task left unjudged.
SELECT concat_ws(' ', r.task_id, r.number) AS subject, concat_ws(' ', 'verdicts told:', count(f.seq)) AS told
FROM rounds r
JOIN tasks t ON t.id = r.task_id
LEFT JOIN facts f ON f.task_id = r.task_id AND f.round = r.number AND f.type = 'judge.verdict'
GROUP BY r.task_id, r.number, t.status
HAVING count(f.seq) <> (r.verdict IS NOT NULL)::int OR (t.status = 'completed' AND r.verdict IS NULL)

-- name: ended_not_once
-- A task whose end was told twice, never, as another one, or not as the last of its events.
SELECT t.id AS subject, concat_ws(' ', t.status, 'was told as', string_agg(f.type, ', ')) AS told
FROM tasks t
LEFT JOIN facts f ON f.task_id = t.id AND f.type IN ('task.completed', 'task.failed', 'task.cancelled')
WHERE t.finished_at IS NOT NULL
GROUP BY t.id
HAVING count(f.seq) <> 1 OR min(f.type) <> 'task.' || t.status OR min(f.seq) <> t.event_seq

-- name: event_gap
-- A task whose events do not bear the numbers 1 to its counter, each once.
SELECT t.id AS subject, concat_ws(' ', count(f.seq), 'events from', min(f.seq), 'to', max(f.seq), 'of', t.event_seq) AS told
FROM tasks t
LEFT JOIN facts f ON f.task_id = t.id
GROUP BY t.id
HAVING count(f.seq) <> t.event_seq OR count(DISTINCT f.seq) <> t.event_seq OR max(f.seq) <> t.event_seq

-- name: chord_open
-- A chord that still waits, or whose body was not published.
SELECT c.id AS subject, concat_ws(' ', c.state, c.done, 'of', c.size + c.added) AS told
FROM chords c
WHERE c.state NOT IN ('fired', 'closed')

-- name: chord_miscounted
-- A chord whose count is not that of its ended steps, which are its parts; in a judged round also that of its size. A
-- step that finds no budget left closes its chord and is not counted; neither is one that had ended when the chord was
-- opened.
SELECT c.id AS subject, concat_ws(' ', c.state, 'counted', c.done, 'of', c.size + c.added, 'with', ended.steps,
    'steps') AS told
FROM chords c
JOIN rounds r ON r.chord_id = c.id
CROSS JOIN LATERAL (
    SELECT count(*) AS steps
    FROM steps s
    WHERE s.chord_id = c.id AND s.reuses IS NULL
        AND (s.state IN ('done', 'failed') OR (s.state = 'skipped' AND s.result IS NOT NULL))
        AND coalesce(s.spec ->> 'early', '') NOT IN ('done', 'failed')
        AND s.result #>> '{error,code}' IS DISTINCT FROM 'budget_exceeded'
) ended
WHERE c.done <> ended.steps OR (r.verdict IS NOT NULL AND c.done IS DISTINCT FROM c.size + c.added)

-- name: chord_orphaned
-- A chord without its round, a round without its chord, a part without either.
SELECT coalesce(c.id, r.chord_id) AS subject, CASE WHEN c.id IS NULL THEN 'no chord' ELSE 'no round' END AS told
FROM chords c
FULL JOIN rounds r ON r.chord_id = c.id
WHERE c.id IS NULL OR r.chord_id IS NULL
UNION ALL
SELECT p.chord_id, 'a part of no chord'
FROM chord_parts p
LEFT JOIN chords c ON c.id = p.chord_id
WHERE c.id IS NULL

-- name: budget_overspent
-- A task that spent more than its client allowed.
SELECT t.id AS subject, concat_ws(' ', sum(l.spent_tokens), 'tokens and', sum(l.spent_cost), 'dollars') AS told
FROM tasks t
JOIN ledger l ON l.task_id = t.id
GROUP BY t.id
HAVING sum(l.spent_tokens) > (t.contract #>> '{budget,max_tokens}')::bigint
    OR sum(l.spent_cost) > (t.contract #>> '{budget,max_cost_dollars}')::numeric

-- name: reservation_open
-- Tokens set aside for a call that nobody makes any more.
SELECT l.step_id AS subject, concat_ws(' ', l.task_id, 'attempt', l.attempt, 'call', l.call) AS told
FROM ledger l
WHERE l.settled_at IS NULL

-- name: spending_unaccounted
-- A task whose total is not what its ledger says: a call was charged twice, or not at all.
SELECT t.id AS subject, concat_ws(' ', 'total', t.tokens_used, 'ledger', coalesce(sum(l.spent_tokens), 0)) AS told
FROM tasks t
LEFT JOIN ledger l ON l.task_id = t.id
GROUP BY t.id
HAVING t.tokens_used <> coalesce(sum(l.spent_tokens), 0)

-- name: effect_twice
-- A write that must not run twice, and that was found outside more than once.
SELECT s.id AS subject,
    concat_ws(' ', s.task_id, s.name, 'wrote', count(*), 'times, in attempts', string_agg(e.attempt::text, ', ')) AS told
FROM effects e
JOIN steps s ON s.id = e.key
WHERE s.spec ? 'once'
GROUP BY s.id
HAVING count(*) > 1

-- name: effect_lost
-- A write that counts as done, and that is not found outside.
SELECT s.id AS subject, concat_ws(' ', s.task_id, s.name, 'is done and wrote nothing') AS told
FROM steps s
WHERE s.kind = 'step' AND s.arm LIKE 'ledger%%' AND s.state = 'done'
    AND NOT EXISTS (SELECT FROM effects e WHERE e.key = s.id)

-- name: effect_unasked
-- A write that was begun again though an attempt before had written, or an unknown effect about which nobody was asked.
SELECT s.id AS subject, concat_ws(' ', s.task_id, s.name, 'made', s.attempt, 'attempts, unknown', lost.count,
    'asked', asked.count) AS told
FROM steps s
CROSS JOIN LATERAL (
    SELECT count(*) FROM facts f WHERE f.step_id = s.id AND f.type = 'step.outcome_unknown'
) lost
CROSS JOIN LATERAL (
    SELECT count(*) FROM approvals a WHERE a.step_id = s.id AND a.kind = 'outcome'
) asked
WHERE s.spec ? 'once' AND (
    lost.count <> asked.count
    OR (asked.count = 0 AND EXISTS (SELECT FROM effects e WHERE e.key = s.id AND e.attempt < s.attempt))
)

-- name: approval_open
-- A question that nobody needs to answer any more.
SELECT a.id AS subject, concat_ws(' ', a.task_id, a.step, a.kind, a.state) AS told
FROM approvals a
WHERE a.state = 'pending'

-- name: resent_in_calm
-- While nothing was lost, messages had to be sent again: those before came too early, or not at all. One in ten is
-- let pass: a machine that stalls for some seconds makes the sweeper impatient.
SELECT 'calm tasks' AS subject, concat_ws(' ', count(*) FILTER (WHERE s.sends > 1), 'of', count(*), 'rows') AS told
FROM steps s
WHERE s.task_id = ANY(%(calm)s)
HAVING count(*) FILTER (WHERE s.sends > 1) * 10 > count(*)

-- name: pool_left
-- A worker that says it lives after all were stopped.
SELECT p.node AS subject, concat_ws(' ', p.arm, 'seen at', p.seen_at) AS told
FROM pools p
WHERE %(is_stopped)s

-- name: approval_skipped
-- A step with a gate that was done, though no decision let it run and no person gave its output.
SELECT s.id AS subject, concat_ws(' ', s.task_id, s.name, 'was done with its gate', s.gate) AS told
FROM steps s
WHERE s.gate IS NOT NULL AND s.state = 'done' AND NOT EXISTS (
    SELECT FROM approvals a WHERE a.step_id = s.id AND a.state IN ('approved', 'edited', 'answered', 'accepted')
)

-- name: approval_ignored
-- A step that was done although a person rejected it, or its time was over.
SELECT s.id AS subject, concat_ws(' ', s.task_id, s.name, 'was done though', a.state) AS told
FROM steps s
JOIN approvals a ON a.step_id = s.id AND a.state IN ('rejected', 'expired')
WHERE s.state = 'done'

-- name: approval_by_nobody
-- A decision of which the events do not say who made it, or that they tell not once.
SELECT a.id AS subject, concat_ws(' ', a.task_id, a.step, a.state, 'was told', count(e.seq), 'times, by',
    coalesce(min(e.payload ->> 'decided_by'), min(e.payload ->> 'via'), 'nobody')) AS told
FROM approvals a
LEFT JOIN events e
    ON e.task_id = a.task_id AND e.type = 'approval.decided' AND e.payload ->> 'approval_id' = a.id
WHERE a.state NOT IN ('pending', 'withdrawn') AND NOT a.proposal ? 'fault'
GROUP BY a.id
HAVING count(e.seq) <> 1
    OR bool_or(e.payload ->> 'decided_by' IS NULL) <> (a.via = 'policy')

-- name: lock_budget
-- Lock the task's row, which serialises its reservations, so that two concurrent ones can't both use the same room.
-- Returns no row if the attempt is no longer the current one or the task has ended.
SELECT (t.contract #>> '{budget,max_tokens}')::bigint AS max_tokens,
    (t.contract #>> '{budget,max_cost_dollars}')::numeric AS max_cost,
    coalesce((t.contract #>> '{budget,is_cost_explicit}')::boolean, false) AS is_cost_explicit
FROM tasks t
JOIN steps s ON s.task_id = t.id
WHERE s.id = %(step_id)s AND s.attempt = %(attempt)s AND s.state = 'running' AND t.finished_at IS NULL
FOR UPDATE OF t;

-- name: charge_abandoned
-- Charge in full the reservations of attempts that no longer run (the worker died, was fenced or handed the lease
-- back): what the provider bills for them is unknown. The caller holds the task's lock.
WITH abandoned AS (
    UPDATE ledger l
    SET spent_tokens = l.reserved_tokens, spent_cost = l.reserved_cost, settled_at = clock_timestamp()
    FROM steps s
    WHERE l.task_id = %(task_id)s AND l.settled_at IS NULL
        AND s.id = l.step_id AND (s.state <> 'running' OR s.attempt <> l.attempt)
    RETURNING l.spent_tokens, l.spent_cost
), total AS (
    SELECT sum(spent_tokens) AS tokens, CASE WHEN bool_and(spent_cost IS NOT NULL) THEN sum(spent_cost) END AS cost
    FROM abandoned
    HAVING count(*) > 0
)
UPDATE tasks t
SET tokens_used = t.tokens_used + total.tokens, cost_dollars = t.cost_dollars + total.cost
FROM total
WHERE t.id = %(task_id)s;

-- name: account
-- Sum what the task has spent and what its open calls reserve. Runs as a new statement after the lock, so it sees
-- every reservation committed before.
SELECT coalesce(sum(spent_tokens) FILTER (WHERE settled_at IS NOT NULL), 0)::bigint AS spent_tokens,
    coalesce(sum(spent_cost) FILTER (WHERE settled_at IS NOT NULL), 0) AS spent_cost,
    coalesce(sum(reserved_tokens) FILTER (WHERE settled_at IS NULL), 0)::bigint AS held_tokens,
    coalesce(sum(reserved_cost) FILTER (WHERE settled_at IS NULL), 0) AS held_cost,
    coalesce(max(call) FILTER (WHERE step_id = %(step_id)s AND attempt = %(attempt)s), 0) + 1 AS next_call
FROM ledger
WHERE task_id = %(task_id)s;

-- name: reserve
-- Insert a reservation. It uses clock_timestamp(), read under the lock: with now(), the transaction's start, entries
-- would seem to overlap.
INSERT INTO ledger (task_id, step_id, attempt, call, reserved_tokens, reserved_cost, reserved_at)
VALUES (%(task_id)s, %(step_id)s, %(attempt)s, %(call)s, %(tokens)s, %(cost)s, clock_timestamp());

-- name: settle
-- Charge a call's usage, or the whole reservation when the usage is unknown; an estimate is charged up to what is
-- reserved. A reservation charged in full (as abandoned, or at the task's end) is corrected when the call's own worker
-- reports less after all; other charges do not change. Updates the task's totals under the task's lock.
WITH task AS (
    SELECT id
    FROM tasks
    WHERE id = %(task_id)s
    FOR UPDATE
), charged AS (
    SELECT l.step_id, l.attempt, l.call, coalesce(l.spent_tokens, 0) AS tokens,
        CASE WHEN l.settled_at IS NULL THEN 0 ELSE l.spent_cost END AS cost
    FROM ledger l
    JOIN task ON task.id = l.task_id
    WHERE l.step_id = %(step_id)s AND l.attempt = %(attempt)s AND l.call = %(call)s
        AND (
            l.settled_at IS NULL
            OR l.spent_tokens = l.reserved_tokens AND %(is_reported)s AND %(tokens)s::bigint < l.reserved_tokens
        )
    FOR UPDATE OF l
), settled AS (
    UPDATE ledger l
    SET spent_tokens = CASE
            WHEN %(tokens)s::bigint IS NULL THEN l.reserved_tokens
            WHEN %(is_reported)s THEN %(tokens)s
            ELSE least(%(tokens)s, l.reserved_tokens)
        END,
        spent_cost = CASE
            WHEN %(tokens)s::bigint IS NULL THEN l.reserved_cost
            WHEN %(is_reported)s OR %(cost)s::numeric IS NULL THEN %(cost)s::numeric
            ELSE least(%(cost)s::numeric, l.reserved_cost)
        END,
        settled_at = clock_timestamp()
    FROM charged c
    WHERE l.step_id = c.step_id AND l.attempt = c.attempt AND l.call = c.call
    RETURNING l.spent_tokens - c.tokens AS tokens, l.spent_cost - c.cost AS cost
)
UPDATE tasks t
SET tokens_used = t.tokens_used + settled.tokens, cost_dollars = t.cost_dollars + settled.cost
FROM settled
WHERE t.id = %(task_id)s
RETURNING t.tokens_used - settled.tokens AS tokens_before, t.tokens_used AS tokens_after,
    t.cost_dollars - settled.cost AS cost_before, t.cost_dollars AS cost_after,
    (t.contract #>> '{budget,max_tokens}')::bigint AS max_tokens,
    (t.contract #>> '{budget,max_cost_dollars}')::numeric AS max_cost;

-- name: charge_open
-- Charge every open reservation in full, at the task's end. The caller holds the task's lock.
WITH held AS (
    UPDATE ledger
    SET spent_tokens = reserved_tokens, spent_cost = reserved_cost, settled_at = clock_timestamp()
    WHERE task_id = %(task_id)s AND settled_at IS NULL
    RETURNING spent_tokens, spent_cost
), total AS (
    SELECT sum(spent_tokens) AS tokens, CASE WHEN bool_and(spent_cost IS NOT NULL) THEN sum(spent_cost) END AS cost
    FROM held
    HAVING count(*) > 0
)
UPDATE tasks t
SET tokens_used = t.tokens_used + total.tokens, cost_dollars = t.cost_dollars + total.cost
FROM total
WHERE t.id = %(task_id)s;

-- name: used
-- Sum what a task has spent and what its open calls reserve; a cost that is not known counts nothing.
SELECT coalesce(sum(coalesce(spent_tokens, reserved_tokens)), 0)::bigint,
    coalesce(sum(CASE WHEN settled_at IS NULL THEN reserved_cost ELSE spent_cost END), 0)
FROM ledger
WHERE task_id = %(task_id)s;

-- name: entries
-- Read a page of a task's ledger entries in the order of reservation, with what the trace says of the calls that have
-- ended. Reservations are serialised by the task's lock, so that an entry keeps its place in this order.
WITH page AS (
    SELECT l.step_id, l.attempt, l.call, l.reserved_tokens, l.reserved_cost, l.spent_tokens, l.spent_cost, l.reserved_at,
        l.settled_at
    FROM ledger l
    WHERE l.task_id = %(task_id)s
    ORDER BY l.reserved_at, l.step_id, l.attempt, l.call
    LIMIT %(limit)s OFFSET %(after)s
), recorded AS (
    SELECT DISTINCT ON (1, 2, 3) t.payload ->> 'step_id' AS step_id, t.payload ->> 'attempt' AS attempt,
        sent.call ->> 'call' AS call, t.payload ->> 'purpose' AS purpose,
        concat_ws(':', sent.call ->> 'provider', sent.call ->> 'model') AS model
    FROM traces t
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(t.payload -> 'attempts') WHEN 'array' THEN t.payload -> 'attempts' END
    ) AS sent (call)
    WHERE t.task_id = %(task_id)s AND t.kind = 'model'
    ORDER BY 1, 2, 3, t.id
)
SELECT p.step_id, s.name AS step, s.round, p.attempt, p.call, p.reserved_tokens, p.reserved_cost, p.spent_tokens,
    p.spent_cost, p.reserved_at, p.settled_at, r.purpose, r.model
FROM page p
JOIN steps s ON s.id = p.step_id
LEFT JOIN recorded r ON r.step_id = p.step_id AND r.attempt = p.attempt::text AND r.call = p.call::text
ORDER BY p.reserved_at, p.step_id, p.attempt, p.call;

-- name: totals
-- Sum what a task's calls were charged and what its open calls reserve; a cost is null if a part of it is unknown.
SELECT coalesce(sum(spent_tokens), 0)::bigint AS settled_tokens,
    CASE WHEN count(*) FILTER (WHERE settled_at IS NOT NULL AND spent_cost IS NULL) = 0
        THEN coalesce(sum(spent_cost), 0) END AS settled_cost,
    coalesce(sum(reserved_tokens) FILTER (WHERE settled_at IS NULL), 0)::bigint AS reserved_tokens,
    CASE WHEN count(*) FILTER (WHERE settled_at IS NULL AND reserved_cost IS NULL) = 0
        THEN coalesce(sum(reserved_cost) FILTER (WHERE settled_at IS NULL), 0) END AS reserved_cost
FROM ledger
WHERE task_id = %(task_id)s;

-- name: spent_by_row
-- Sum what the settled calls of rows used, by row; a row without calls is left out. A cost is null if one is not known.
SELECT step_id, sum(spent_tokens)::bigint AS tokens,
    CASE WHEN bool_and(spent_cost IS NOT NULL) THEN sum(spent_cost) END AS cost
FROM ledger
WHERE step_id = ANY(%(ids)s) AND settled_at IS NOT NULL
GROUP BY step_id;

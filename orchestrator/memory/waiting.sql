-- name: open_rows
-- Read what each open row of a task waits for, the first `limit` rows: its open dependencies, the arm's workers and the
-- rows queued before it, the last reason for another try, the pending approval, the open model call, and the budget.
-- Only the task's last 1,000 events and a queue's first 2,000 rows are looked at. `ahead` is null beyond. A queue's order
-- is that of its messages: priority, then time; rows whose turn has not come (not_before) are not in it. What is read once
-- is MATERIALIZED: else it is computed again for each row.
WITH open AS (
    SELECT s.*
    FROM steps s
    WHERE s.task_id = %(task_id)s AND s.state IN ('blocked', 'held', 'waiting', 'queued', 'running')
), shown AS (
    SELECT open.*, count(*) OVER () AS open_rows, count(*) FILTER (WHERE kind = 'step') OVER (PARTITION BY round) AS open_steps
    FROM open
    ORDER BY array_position('{waiting,queued,running,held,blocked}'::text[], state), path_length DESC, name, id
    LIMIT %(limit)s
), needed AS MATERIALIZED (
    SELECT dependent.id, count(*) AS number, (array_agg(open.name ORDER BY open.name COLLATE "C"))[1:6] AS names
    FROM open, unnest(open.unblocks) AS dependent (id)
    GROUP BY dependent.id
), holders AS MATERIALIZED (
    SELECT round, count(*) AS number, (array_agg(name ORDER BY name COLLATE "C"))[1:6] AS names
    FROM open
    WHERE kind = 'step' AND state IN ('queued', 'running')
    GROUP BY round
), tried AS MATERIALIZED (
    SELECT DISTINCT ON (payload ->> 'step_id') payload ->> 'step_id' AS id, payload #>> '{error,code}' AS code,
        payload #>> '{error,message}' AS message,
        occurred_at + (payload ->> 'delay_seconds')::float8 * interval '1 second' AS until
    FROM (
        SELECT seq, occurred_at, type, payload
        FROM events
        WHERE task_id = %(task_id)s
        ORDER BY seq DESC
        LIMIT 1000
    ) latest
    WHERE type = 'step.retrying'
    ORDER BY payload ->> 'step_id', seq DESC
), wanted AS MATERIALIZED (
    SELECT DISTINCT queue, tenant
    FROM shown
    WHERE state = 'queued'
), queues AS MATERIALIZED (
    SELECT wanted.queue, wanted.tenant, serving.*, running.*, (
        SELECT coalesce(min(t.tenant) <> wanted.tenant OR max(t.tenant) <> wanted.tenant, false) FROM tasks t
    ) OR EXISTS (
        SELECT FROM api_keys k
        WHERE k.tenant <> wanted.tenant AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
    ) AS has_others
    FROM wanted
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE unavailable IS NULL) AS workers,
            coalesce(sum(concurrency) FILTER (WHERE unavailable IS NULL), 0) AS slots,
            coalesce(sum(busy) FILTER (WHERE unavailable IS NULL), 0) AS busy, max(unavailable) AS withheld
        FROM pools
        WHERE pools.queue = wanted.queue AND seen_at > now() - make_interval(secs => %(within_seconds)s)
    ) serving
    CROSS JOIN LATERAL (
        SELECT count(*) AS running_everywhere, count(*) FILTER (WHERE r.queue = wanted.queue) AS running_here
        FROM steps r
        WHERE r.state = 'running' AND r.tenant = wanted.tenant
    ) running
), lines AS MATERIALIZED (
    SELECT id, row_number() OVER (PARTITION BY queue ORDER BY priority, queued_at, id) - 1 AS ahead,
        count(*) OVER () > 2000 AS is_cut
    FROM (
        SELECT s.id, s.queue, s.priority, s.queued_at
        FROM steps s
        WHERE s.state = 'queued' AND s.queue = ANY(ARRAY(SELECT queue FROM wanted)) AND s.not_before <= now()
        LIMIT 2001
    ) queued
), budget AS MATERIALIZED (
    SELECT coalesce(sum(spent_tokens) FILTER (WHERE settled_at IS NOT NULL), 0)::bigint AS spent_tokens,
        coalesce(sum(spent_cost) FILTER (WHERE settled_at IS NOT NULL), 0) AS spent_cost,
        coalesce(sum(reserved_tokens) FILTER (WHERE settled_at IS NULL), 0)::bigint AS held_tokens,
        coalesce(sum(reserved_cost) FILTER (WHERE settled_at IS NULL), 0) AS held_cost
    FROM ledger
    WHERE task_id = %(task_id)s
)
SELECT shown.id, shown.round, shown.kind, shown.name, shown.arm, shown.state, shown.attempt, shown.kills, shown.owner,
    shown.queued_at, shown.started_at, shown.due, shown.effect_attempt IS NOT NULL AS has_effect,
    CASE WHEN shown.not_before > now() THEN shown.not_before END AS not_before, now() AS read_at,
    shown.open_rows, CASE shown.kind WHEN 'judge' THEN shown.open_steps ELSE coalesce(needed.number, 0) END AS needs,
    coalesce(needed.names, '{}') AS needed_names, coalesce(holders.number, 0) AS holders,
    coalesce(holders.names, '{}') AS holder_names, tried.code AS tried_code, tried.message AS tried_message,
    coalesce(queues.workers, 0) AS workers, coalesce(queues.slots, 0) AS slots, coalesce(queues.busy, 0) AS busy,
    queues.withheld, coalesce(queues.running_everywhere, 0) AS running_everywhere,
    coalesce(queues.running_here, 0) AS running_here, coalesce(queues.has_others, false) AS has_others,
    CASE WHEN NOT lines.is_cut THEN lines.ahead END AS ahead,
    CASE
        WHEN registered.expires_at <= now() THEN 'it has sent no heartbeat'
        WHEN outage.until > now() THEN outage.reason
    END AS outage,
    CASE WHEN outage.until > now() THEN outage.until END AS outage_until,
    asked.id AS approval_id, asked.kind AS asks_for, asked.ask, asked.assignee, asked.expires_at, asked.on_expiry,
    calling.reserved_at AS called_at, calling.reserved_tokens AS call_tokens, budget.*
FROM shown
CROSS JOIN budget
LEFT JOIN needed ON needed.id = shown.id
LEFT JOIN holders ON holders.round = shown.round
-- a row that was put off again since waits for another reason
LEFT JOIN tried ON tried.id = shown.id AND tried.until > shown.not_before - interval '1 second'
LEFT JOIN queues ON shown.state = 'queued' AND queues.queue = shown.queue AND queues.tenant IS NOT DISTINCT FROM shown.tenant
LEFT JOIN lines ON lines.id = shown.id
LEFT JOIN arm_outages outage ON outage.arm = shown.arm
LEFT JOIN registered_arms registered ON registered.arm_id = shown.arm
LEFT JOIN approvals asked ON asked.step_id = shown.id AND asked.state = 'pending'
LEFT JOIN LATERAL (
    SELECT min(l.reserved_at) AS reserved_at, sum(l.reserved_tokens)::bigint AS reserved_tokens
    FROM ledger l
    WHERE shown.state = 'running' AND l.step_id = shown.id AND l.attempt = shown.attempt AND l.settled_at IS NULL
) calling ON true
ORDER BY array_position('{waiting,queued,running,held,blocked}'::text[], shown.state), shown.path_length DESC, shown.name,
    shown.id;

-- name: window
-- Read what each arm did in the last `minutes`, as one row an arm and minute with the arm's totals in each, from the rows
-- of its steps, so that no restart loses it. Only an arm's last `limit` ended rows are read, from the index steps_by_arm;
-- `complete_since` says from when on these are all. `queued` and `busy` are averages over the minute, by the last attempt
-- of each row: the rows that were open when the minute began, and the part of the minute for which others were. The cost
-- is that of a tenant's own steps: the model calls of ended and running rows, null if one's cost is not known.
WITH bounds AS (
    SELECT date_trunc('minute', now()) - (%(minutes)s - 1) * interval '1 minute' AS first
), ended AS MATERIALIZED (
    SELECT wanted.arm, s.id, s.tenant, s.state, s.queued_at, s.started_at, s.finished_at,
        (extract(epoch FROM s.finished_at - s.started_at) * 1000)::float8 AS ms
    FROM unnest(%(arms)s::text[]) AS wanted (arm)
    CROSS JOIN LATERAL (
        SELECT id, tenant, state, queued_at, started_at, finished_at
        FROM steps
        WHERE steps.arm = wanted.arm AND state IN ('done', 'failed') AND reuses IS NULL
            AND finished_at >= (SELECT first FROM bounds)
        ORDER BY finished_at DESC
        LIMIT %(limit)s
    ) s
), open AS MATERIALIZED (
    SELECT arm, id, tenant, state, queued_at, CASE state WHEN 'running' THEN started_at END AS started_at, not_before
    FROM steps
    WHERE state IN ('queued', 'running') AND arm = ANY(%(arms)s)
    LIMIT 20000
), lives AS (
    SELECT arm, queued_at, started_at, finished_at FROM ended
    UNION ALL
    SELECT arm, queued_at, started_at, NULL FROM open
), turns AS (
    SELECT lives.arm, turn.queued, turn.busy, greatest(turn.at, (SELECT first FROM bounds)) AS at
    FROM lives
    CROSS JOIN LATERAL (
        VALUES
            (queued_at, 1, 0),
            (coalesce(started_at, finished_at), -(queued_at IS NOT NULL)::int, (started_at IS NOT NULL)::int),
            (finished_at, 0, -(started_at IS NOT NULL)::int)
    ) turn (at, queued, busy)
    WHERE turn.at IS NOT NULL
), placed AS (
    SELECT arm, queued, busy, date_trunc('minute', at) AS minute,
        extract(epoch FROM least(date_trunc('minute', at) + interval '1 minute', now()) - at)::float8
            / greatest(0.001, extract(epoch FROM least(interval '1 minute', now() - date_trunc('minute', at))))::float8 AS share
    FROM turns
), moved AS (
    SELECT arm, minute, sum(queued) AS queued, sum(busy) AS busy, sum(queued * share) AS queued_part,
        sum(busy * share) AS busy_part
    FROM placed
    GROUP BY arm, minute
), results AS (
    SELECT arm, date_trunc('minute', finished_at) AS minute, count(*) AS ended,
        count(*) FILTER (WHERE state = 'failed') AS failed,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ms) AS ms
    FROM ended
    GROUP BY arm, date_trunc('minute', finished_at)
), totals AS (
    SELECT arm, count(*) AS attempts, count(*) FILTER (WHERE state = 'done') AS successes,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ms) AS ms,
        CASE WHEN count(*) >= %(limit)s THEN min(finished_at) END AS complete_since
    FROM ended
    GROUP BY arm
), oldest AS (
    SELECT arm, min(queued_at) AS queued_at
    FROM open
    WHERE state = 'queued' AND not_before <= now()
    GROUP BY arm
), costs AS (
    SELECT own.arm, CASE WHEN bool_and(coalesce(l.spent_cost, l.reserved_cost) IS NOT NULL)
        THEN sum(coalesce(l.spent_cost, l.reserved_cost)) END AS dollars
    FROM (
        SELECT arm, id FROM ended WHERE tenant = %(tenant)s
        UNION ALL
        SELECT arm, id FROM open WHERE state = 'running' AND tenant = %(tenant)s
    ) own
    JOIN ledger l ON l.step_id = own.id
    GROUP BY own.arm
)
SELECT wanted.arm, minutes.at, coalesce(results.ended - results.failed, 0) AS finished, coalesce(results.failed, 0) AS failed,
    results.ms[1] AS p50_ms, results.ms[2] AS p95_ms,
    greatest(0, coalesce(sum(moved.queued) OVER before, 0) + coalesce(moved.queued_part, 0))::float8 AS queued,
    greatest(0, coalesce(sum(moved.busy) OVER before, 0) + coalesce(moved.busy_part, 0))::float8 AS busy,
    totals.complete_since, coalesce(totals.attempts, 0) AS attempts, coalesce(totals.successes, 0) AS successes,
    totals.ms[1] AS whole_p50_ms, totals.ms[2] AS whole_p95_ms,
    extract(epoch FROM now() - oldest.queued_at)::float8 AS oldest_queued_seconds,
    CASE WHEN costs.arm IS NULL THEN 0 ELSE costs.dollars END AS cost_dollars
FROM unnest(%(arms)s::text[]) WITH ORDINALITY AS wanted (arm, position)
CROSS JOIN generate_series((SELECT first FROM bounds), now(), interval '1 minute') AS minutes (at)
LEFT JOIN moved ON moved.arm = wanted.arm AND moved.minute = minutes.at
LEFT JOIN results ON results.arm = wanted.arm AND results.minute = minutes.at
LEFT JOIN totals ON totals.arm = wanted.arm
LEFT JOIN oldest ON oldest.arm = wanted.arm
LEFT JOIN costs ON costs.arm = wanted.arm
WINDOW before AS (PARTITION BY wanted.arm ORDER BY minutes.at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
ORDER BY wanted.position, minutes.at;

-- name: window
-- Read what each arm did in the last `minutes`, as one row an arm and minute, from the rows of its steps, so that no
-- restart loses it. Only an arm's last `limit` ended rows are read, from the index steps_by_arm; `complete_since` says from
-- when on these are all. `queued` and `busy` are averages over the minute, by the last attempt of each row: the rows
-- that were open when the minute began, and the part of the minute for which others were.
WITH bounds AS (
    SELECT date_trunc('minute', now()) - (%(minutes)s - 1) * interval '1 minute' AS first
), minutes AS (
    SELECT at, least(at + interval '1 minute', now()) AS ends
    FROM bounds, generate_series(bounds.first, now(), interval '1 minute') at
), ended AS MATERIALIZED (
    SELECT wanted.arm, s.state, s.queued_at, s.started_at, s.finished_at,
        extract(epoch FROM s.finished_at - s.started_at) * 1000 AS ms
    FROM unnest(%(arms)s::text[]) AS wanted (arm)
    CROSS JOIN bounds
    CROSS JOIN LATERAL (
        SELECT state, queued_at, started_at, finished_at
        FROM steps
        WHERE steps.arm = wanted.arm AND state IN ('done', 'failed') AND reuses IS NULL
            AND finished_at >= bounds.first
        ORDER BY finished_at DESC
        LIMIT %(limit)s
    ) s
), cut AS (
    SELECT arm, CASE WHEN count(*) >= %(limit)s THEN min(finished_at) END AS complete_since
    FROM ended
    GROUP BY arm
), open AS (
    SELECT arm, queued_at, started_at, state
    FROM steps
    WHERE state IN ('queued', 'running') AND arm = ANY(%(arms)s)
    LIMIT 20000
), lives AS (
    SELECT arm, queued_at, started_at, finished_at FROM ended
    UNION ALL
    SELECT arm, queued_at, CASE state WHEN 'running' THEN started_at END, NULL FROM open
), turns AS (
    SELECT arm, queued_at AS at, 1 AS queued, 0 AS busy FROM lives WHERE queued_at IS NOT NULL
    UNION ALL
    SELECT arm, started_at, CASE WHEN queued_at IS NULL THEN 0 ELSE -1 END, 1 FROM lives WHERE started_at IS NOT NULL
    UNION ALL
    SELECT arm, finished_at, 0, -1 FROM lives WHERE started_at IS NOT NULL AND finished_at IS NOT NULL
    UNION ALL
    SELECT arm, finished_at, -1, 0 FROM lives WHERE queued_at IS NOT NULL AND started_at IS NULL AND finished_at IS NOT NULL
), moved AS (
    SELECT turns.arm, minutes.at, sum(queued) AS queued, sum(busy) AS busy,
        sum(queued * part.share) AS queued_part, sum(busy * part.share) AS busy_part
    FROM turns
    CROSS JOIN bounds
    JOIN minutes ON minutes.at = date_trunc('minute', greatest(turns.at, bounds.first))
    CROSS JOIN LATERAL (
        SELECT greatest(0, extract(epoch FROM minutes.ends - greatest(turns.at, minutes.at)))
            / greatest(0.001, extract(epoch FROM minutes.ends - minutes.at)) AS share
    ) part
    GROUP BY turns.arm, minutes.at
), results AS (
    SELECT arm, date_trunc('minute', finished_at) AS at, count(*) AS ended, count(*) FILTER (WHERE state = 'failed') AS failed,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ms) AS ms
    FROM ended
    GROUP BY arm, date_trunc('minute', finished_at)
)
SELECT wanted.arm, minutes.at, coalesce(results.ended - results.failed, 0) AS finished, coalesce(results.failed, 0) AS failed,
    results.ms[1] AS p50_ms, results.ms[2] AS p95_ms,
    greatest(0, coalesce(sum(moved.queued) OVER before, 0) + coalesce(moved.queued_part, 0))::float8 AS queued,
    greatest(0, coalesce(sum(moved.busy) OVER before, 0) + coalesce(moved.busy_part, 0))::float8 AS busy, cut.complete_since
FROM unnest(%(arms)s::text[]) WITH ORDINALITY AS wanted (arm, position)
CROSS JOIN minutes
LEFT JOIN moved ON moved.arm = wanted.arm AND moved.at = minutes.at
LEFT JOIN results ON results.arm = wanted.arm AND results.at = minutes.at
LEFT JOIN cut ON cut.arm = wanted.arm
WINDOW before AS (PARTITION BY wanted.arm ORDER BY minutes.at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
ORDER BY wanted.position, minutes.at;

-- name: totals
-- Read each arm's oldest row that may run now, its latencies in the last `minutes`, and what a tenant's own steps cost
-- there: the model calls of their ended and running rows, null if the cost of one is not known.
SELECT wanted.arm, extract(epoch FROM now() - oldest.queued_at)::float8 AS oldest_queued_seconds,
    ended.attempts, ended.successes, ended.ms[1] AS p50_ms, ended.ms[2] AS p95_ms, costs.dollars AS cost_dollars
FROM unnest(%(arms)s::text[]) WITH ORDINALITY AS wanted (arm, position)
LEFT JOIN (
    SELECT arm, min(queued_at) AS queued_at
    FROM steps
    WHERE state = 'queued' AND not_before <= now()
    GROUP BY arm
) oldest ON oldest.arm = wanted.arm
CROSS JOIN LATERAL (
    SELECT count(*) AS attempts, count(*) FILTER (WHERE state = 'done') AS successes,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at) * 1000) AS ms
    FROM (
        SELECT state, started_at, finished_at
        FROM steps
        WHERE steps.arm = wanted.arm AND state IN ('done', 'failed') AND reuses IS NULL
            AND finished_at >= date_trunc('minute', now()) - (%(minutes)s - 1) * interval '1 minute'
        ORDER BY finished_at DESC
        LIMIT %(limit)s
    ) latest
) ended
CROSS JOIN LATERAL (
    SELECT CASE WHEN count(*) = count(coalesce(l.spent_cost, l.reserved_cost)) THEN
        coalesce(sum(coalesce(l.spent_cost, l.reserved_cost)), 0) END AS dollars
    FROM (
        (
            SELECT id
            FROM steps
            WHERE steps.arm = wanted.arm AND state IN ('done', 'failed') AND reuses IS NULL
                AND finished_at >= date_trunc('minute', now()) - (%(minutes)s - 1) * interval '1 minute'
                AND tenant = %(tenant)s
            ORDER BY finished_at DESC
            LIMIT %(limit)s
        ) UNION ALL (
            SELECT id
            FROM steps
            WHERE state = 'running' AND tenant = %(tenant)s AND steps.arm = wanted.arm
        )
    ) own
    JOIN ledger l ON l.step_id = own.id
) costs
ORDER BY wanted.position;

-- Returns how many seconds of work a queue has, for an autoscaler: each step that is due now or running counts with the
-- average time of its arm's last 100 steps within a week (10 seconds if there are none, at least 0.05). Running steps
-- count too: otherwise an autoscaler would stop the workers of long steps as soon as nothing waits.
-- At most 10,000 steps of each state are read, which is far more than any pool works off, so that it stays cheap. It
-- runs with its owner's rights and returns nothing but the number.
CREATE FUNCTION octollm_queued_seconds_1(of_queue text) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    WITH open AS (
        (
            SELECT arm
            FROM steps
            WHERE state = 'queued' AND queue = of_queue AND not_before <= now()
            LIMIT 10000
        )
        UNION ALL
        (
            SELECT arm
            FROM steps
            WHERE state = 'running' AND queue = of_queue
            LIMIT 10000
        )
    ),
    counted AS (
        SELECT arm, count(*) AS steps
        FROM open
        GROUP BY arm
    )
    SELECT coalesce(sum(counted.steps * typical.seconds), 0)
    FROM counted
    CROSS JOIN LATERAL (
        SELECT greatest(coalesce(avg(extract(epoch FROM finished_at - started_at)), 10), 0.05)::double precision AS seconds
        FROM (
            SELECT started_at, finished_at
            FROM steps
            WHERE steps.arm = counted.arm AND state IN ('done', 'failed') AND reuses IS NULL
              AND finished_at > now() - interval '7 days'
            ORDER BY finished_at DESC
            LIMIT 100
        ) AS ended
    ) AS typical
$$;

-- name: find_tasks
-- Read a page of a tenant's tasks that fit. Only the newest `window` tasks between the ids are looked at (the oldest
-- for the sort `oldest`), so that a rare text or an order without an index can't scan a long history. With the sorts
-- newest and oldest all constant terms of both ORDER BYs fall away, and the walk along the index ends with the page.
SELECT t.id, t.event_seq, t.updated_at, t.tokens_used, t.cost_dollars, (
    SELECT s.event_seq FROM tasks s WHERE t.finished_at IS NULL AND s.id = t.cache ->> 'source_task_id'
) AS source_seq, placed.key, now() AS read_at
FROM (
    SELECT *
    FROM tasks
    WHERE tenant = %(tenant)s
        AND (%(status)s::text IS NULL OR status = %(status)s)
        AND (%(above)s::text IS NULL OR id > %(above)s)
        AND (%(below)s::text IS NULL OR id < %(below)s)
    ORDER BY CASE WHEN %(sort)s = 'oldest' THEN id END, CASE WHEN %(sort)s <> 'oldest' THEN id END DESC
    LIMIT %(window)s
) t, LATERAL (
    SELECT CASE %(sort)s
        WHEN 'longest' THEN extract(epoch FROM
            least(t.finished_at, coalesce(%(as_of)s::timestamptz, now())) - t.created_at)
        WHEN 'dearest' THEN coalesce(t.cost_dollars, -1)
        WHEN 'updated' THEN extract(epoch FROM t.updated_at)
    END AS key
) placed
WHERE (%(statuses)s::text[] IS NULL OR t.status = ANY (%(statuses)s))
    AND (%(from)s::timestamptz IS NULL OR t.created_at >= %(from)s)
    AND (%(to)s::timestamptz IS NULL OR t.created_at < %(to)s)
    AND (%(min_cost)s::numeric IS NULL OR t.cost_dollars >= %(min_cost)s)
    AND (%(min_duration)s::float8 IS NULL
        OR coalesce(t.finished_at, now()) - t.created_at >= make_interval(secs => %(min_duration)s))
    AND (%(goal)s::text IS NULL OR strpos(lower(t.contract ->> 'goal'), lower(%(goal)s)) > 0)
    AND (%(arm)s::text IS NULL OR EXISTS (
        SELECT FROM steps s WHERE s.task_id = t.id AND s.kind = 'step' AND s.arm = %(arm)s
    ))
    AND (%(recipe)s::text IS NULL OR t.contract ->> 'recipe' = %(recipe)s OR EXISTS (
        SELECT FROM rounds r WHERE r.task_id = t.id AND r.plan -> 'provenance' ->> 'recipe' = %(recipe)s
    ))
    AND (%(key)s::numeric IS NULL OR (placed.key, t.id) < (%(key)s, %(key_id)s))
ORDER BY CASE WHEN %(sort)s = 'oldest' THEN t.id END, placed.key DESC, CASE WHEN %(sort)s <> 'oldest' THEN t.id END DESC
LIMIT %(limit)s;

-- name: last_seen
-- Read the last task that find_tasks looks at, if its window was full.
SELECT t.id, t.created_at
FROM tasks t
WHERE t.id = (
    SELECT id
    FROM tasks
    WHERE tenant = %(tenant)s
        AND (%(status)s::text IS NULL OR status = %(status)s)
        AND (%(above)s::text IS NULL OR id > %(above)s)
        AND (%(below)s::text IS NULL OR id < %(below)s)
    ORDER BY CASE WHEN %(sort)s = 'oldest' THEN id END, CASE WHEN %(sort)s <> 'oldest' THEN id END DESC
    OFFSET %(window)s - 1
    LIMIT 1
);

-- name: newest_id
-- Read the id of a tenant's newest task.
SELECT id
FROM tasks
WHERE tenant = %(tenant)s
ORDER BY id DESC
LIMIT 1;

-- name: count_by_status
-- Count the tasks of each status that fit, among the newest `window` of it between the ids. Each status is a constant,
-- so that the planner knows a rare one and does not look for it in the whole history.
SELECT t.status, count(*) AS seen, count(*) FILTER (
    WHERE (%(from)s::timestamptz IS NULL OR t.created_at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR t.created_at < %(to)s)
        AND (%(min_cost)s::numeric IS NULL OR t.cost_dollars >= %(min_cost)s)
        AND (%(min_duration)s::float8 IS NULL
            OR coalesce(t.finished_at, now()) - t.created_at >= make_interval(secs => %(min_duration)s))
        AND (%(goal)s::text IS NULL OR strpos(lower(t.contract ->> 'goal'), lower(%(goal)s)) > 0)
        AND (%(arm)s::text IS NULL OR EXISTS (
            SELECT FROM steps s WHERE s.task_id = t.id AND s.kind = 'step' AND s.arm = %(arm)s
        ))
        AND (%(recipe)s::text IS NULL OR t.contract ->> 'recipe' = %(recipe)s OR EXISTS (
            SELECT FROM rounds r WHERE r.task_id = t.id AND r.plan -> 'provenance' ->> 'recipe' = %(recipe)s
        ))
) AS fitting
FROM (
    (
        SELECT *
        FROM tasks
        WHERE tenant = %(tenant)s AND status = 'queued'
            AND (%(above)s::text IS NULL OR id > %(above)s)
            AND (%(below)s::text IS NULL OR id < %(below)s)
        ORDER BY id DESC
        LIMIT %(window)s
    )
    UNION ALL
    (
        SELECT *
        FROM tasks
        WHERE tenant = %(tenant)s AND status = 'processing'
            AND (%(above)s::text IS NULL OR id > %(above)s)
            AND (%(below)s::text IS NULL OR id < %(below)s)
        ORDER BY id DESC
        LIMIT %(window)s
    )
    UNION ALL
    (
        SELECT *
        FROM tasks
        WHERE tenant = %(tenant)s AND status = 'completed'
            AND (%(above)s::text IS NULL OR id > %(above)s)
            AND (%(below)s::text IS NULL OR id < %(below)s)
        ORDER BY id DESC
        LIMIT %(window)s
    )
    UNION ALL
    (
        SELECT *
        FROM tasks
        WHERE tenant = %(tenant)s AND status = 'failed'
            AND (%(above)s::text IS NULL OR id > %(above)s)
            AND (%(below)s::text IS NULL OR id < %(below)s)
        ORDER BY id DESC
        LIMIT %(window)s
    )
    UNION ALL
    (
        SELECT *
        FROM tasks
        WHERE tenant = %(tenant)s AND status = 'cancelled'
            AND (%(above)s::text IS NULL OR id > %(above)s)
            AND (%(below)s::text IS NULL OR id < %(below)s)
        ORDER BY id DESC
        LIMIT %(window)s
    )
) t
GROUP BY t.status;

-- name: describe
-- Read what a list shows of each task. Steps are counted as steps_of does: the latest row of each, without the items of
-- a loop; a task that takes over another's result has that task's steps.
SELECT t.id, t.status, t.phase, t.contract ->> 'goal' AS goal, t.priority, t.percentage, t.tokens_used, t.cost_dollars,
    t.created_at, t.updated_at, t.finished_at, counted.completed_steps, counted.total_steps, (
        SELECT count(*) FROM approvals a WHERE a.task_id = t.id AND a.state = 'pending'
    ) AS waiting, t.schedule_id, t.scheduled_at
FROM tasks t, LATERAL (
    SELECT count(*) FILTER (WHERE latest.state = 'done') AS completed_steps, count(*) AS total_steps
    FROM (
        SELECT DISTINCT ON (s.name) s.state
        FROM steps s, tasks w
        WHERE w.id = coalesce(t.cache ->> 'source_task_id', t.id)
            AND s.task_id = w.id AND s.kind = 'step' AND s.parent IS NULL
            AND (s.round > 0 OR w.round = 0)
        ORDER BY s.name, s.round DESC
    ) latest
) counted
WHERE t.id = ANY (%(ids)s) AND t.tenant = %(tenant)s;

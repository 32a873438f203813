-- name: list
-- Read steps that were given up because they killed their workers, newest first, each with the latest task that
-- retries its task.
SELECT s.id, s.task_id, s.name, s.arm, s.round, s.kills, s.result -> 'error' AS error, s.finished_at,
    t.status AS task_status,
    (SELECT max(r.id) FROM tasks r WHERE r.retry_of = t.id) AS retried_by
FROM steps s
JOIN tasks t ON t.id = s.task_id
WHERE s.state = 'failed'
    AND s.result #>> '{error,code}' = 'poison_step'
    AND t.tenant = %(tenant)s
    AND (
        %(before)s::text IS NULL
        OR (s.finished_at, s.id) < (SELECT last.finished_at, last.id FROM steps last WHERE last.id = %(before)s)
    )
ORDER BY s.finished_at DESC, s.id DESC
LIMIT %(limit)s;

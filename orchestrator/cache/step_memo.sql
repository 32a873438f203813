-- name: read
-- Returns the result of a finished step of the tenant that is at most max_age seconds old. Results stored as files are
-- left out, because a file lives only as long as its task, and so are results that came from the memo themselves.
SELECT s.result, extract(epoch FROM now() - s.finished_at)::float8 AS age_seconds
FROM steps s
JOIN tasks t ON t.id = s.task_id
WHERE s.id = %(id)s AND s.kind = 'step' AND s.state = 'done' AND t.tenant = %(tenant)s
    AND s.arm = %(arm)s AND s.spec ->> 'action' = %(action)s
    AND s.result ->> 'artifact' IS NULL AND s.result -> 'provenance' ->> 'memo_of' IS NULL
    AND s.finished_at >= now() - %(max_age)s::float8 * interval '1 second';

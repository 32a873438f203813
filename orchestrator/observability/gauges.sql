-- name: count_tasks
-- Open tasks by phase; reads the partial index tasks_deadline, which contains exactly these.
SELECT phase, count(*)
FROM tasks
WHERE finished_at IS NULL
GROUP BY phase;

-- name: age_queues
-- The waiting time in seconds of the oldest claimable step of each queue; a step that waits for its retry
-- time does not count.
SELECT queue, extract(epoch FROM now() - min(greatest(queued_at, not_before)))::float8
FROM steps
WHERE state = 'queued'
  AND not_before <= now()
GROUP BY queue;

-- name: count_workers
-- Pools with a recent heartbeat that accept work, by arm.
SELECT arm, count(*)
FROM pools
WHERE seen_at > now() - make_interval(secs => %(within_seconds)s)
  AND unavailable IS NULL
GROUP BY arm;

-- name: count_layers_off
-- Tenants for whom a cache layer is switched off after too many wrong hits, by layer.
SELECT layer, count(*)
FROM cache_switches
WHERE off_until > now()
GROUP BY layer;

-- name: age_overdue
-- For how many seconds the oldest ended task has been past its retention; no row if none is. Tasks that a retry refers
-- to are kept on purpose.
SELECT 'tasks', extract(epoch FROM now() - make_interval(days => %(days)s) - finished_at)::float8
FROM tasks
WHERE finished_at < now() - make_interval(days => %(days)s)
  AND NOT EXISTS (SELECT FROM tasks retry WHERE retry.retry_of = tasks.id)
ORDER BY finished_at
LIMIT 1;

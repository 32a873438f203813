-- name: count_tasks
-- Open tasks by phase; the partial index tasks_deadline holds just these.
SELECT phase, count(*)
FROM tasks
WHERE finished_at IS NULL
GROUP BY phase;

-- name: age_queues
-- How long the oldest step that may be claimed has been waiting, by queue; a step that waits for its retry
-- time does not count.
SELECT queue, extract(epoch FROM now() - min(greatest(queued_at, not_before)))::float8
FROM steps
WHERE state = 'queued'
  AND not_before <= now()
GROUP BY queue;

-- name: count_workers
-- Pools whose heartbeat is fresh and that take work, by arm.
SELECT arm, count(*)
FROM pools
WHERE seen_at > now() - make_interval(secs => %(within_seconds)s)
  AND unavailable IS NULL
GROUP BY arm;

-- name: count_layers_off
-- Tenants for whom a layer of the cache is off because it was wrong too often, by layer.
SELECT layer, count(*)
FROM cache_switches
WHERE off_until > now()
GROUP BY layer;

-- name: record_heartbeat
-- Upsert a worker process' heartbeat, a row for each of its queues. A restarted process has the same node names and
-- takes the rows over.
INSERT INTO pools (node, queue, arm, concurrency, busy, isolation, version, registry_digest, unavailable)
SELECT node, queue, arm, concurrency, busy, isolation, version, registry_digest, unavailable
FROM jsonb_to_recordset(CAST(%(reports)s AS jsonb)) AS report (
    node text,
    queue text,
    arm text,
    concurrency integer,
    busy integer,
    isolation text,
    version text,
    registry_digest text,
    unavailable text
)
ORDER BY node
ON CONFLICT (node) DO UPDATE
SET queue = excluded.queue,
    arm = excluded.arm,
    concurrency = excluded.concurrency,
    busy = excluded.busy,
    isolation = excluded.isolation,
    version = excluded.version,
    registry_digest = excluded.registry_digest,
    unavailable = excluded.unavailable,
    seen_at = now()

-- name: leave
-- Delete the rows of a worker process that stopped.
DELETE FROM pools
WHERE node = ANY(%(nodes)s)

-- name: alive
-- Read the worker processes with a recent heartbeat, by Postgres' clock.
SELECT node, queue, arm, concurrency, busy, isolation, version, registry_digest, unavailable, started_at, seen_at
FROM pools
WHERE seen_at > now() - make_interval(secs => %(within_seconds)s)
ORDER BY arm, node

-- name: try_write
-- Lock a row for a moment; a server that takes no writes refuses. Writes no new version of the row, so there is
-- nothing to vacuum, and waits for no other lock.
SELECT node
FROM pools
ORDER BY node
LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED

-- name: forget_dead
-- Delete rows of processes that were killed before they could delete their own.
DELETE FROM pools
WHERE seen_at < now() - make_interval(secs => %(after_seconds)s)

-- name: arm_statistics
-- Read each arm's current workers and recent history. The history is limited to some days and to 1,000 rows an arm,
-- read from the index steps_by_arm, because the router runs this before every plan. Declarations are the tenant's
-- own. An arm's workers are those of its queue, which registered arms share.
SELECT
    wanted.arm,
    living.workers,
    living.busy,
    living.concurrency,
    coalesce(waiting.queued, 0) AS queued,
    history.attempts,
    history.successes,
    history.average_latency_ms,
    declared.status AS declared_status,
    coalesce(declared.metadata, '{}') AS declared_metadata,
    declared.declared_at,
    CASE
        WHEN registered.expires_at <= now() THEN 'it has sent no heartbeat'
        WHEN outage.until > now() THEN outage.reason
    END AS outage
FROM unnest(%(arms)s::text[], %(queues)s::text[]) WITH ORDINALITY AS wanted (arm, queue, position)
LEFT JOIN registered_arms AS registered ON registered.arm_id = wanted.arm
LEFT JOIN arm_outages AS outage ON outage.arm = wanted.arm
LEFT JOIN declarations AS declared ON declared.tenant = %(tenant)s AND declared.arm = wanted.arm
LEFT JOIN (
    SELECT arm, count(*) AS queued
    FROM steps
    WHERE state = 'queued'
    GROUP BY arm
) AS waiting ON waiting.arm = wanted.arm
CROSS JOIN LATERAL (
    SELECT
        count(*) AS workers,
        coalesce(sum(busy), 0) AS busy,
        coalesce(sum(concurrency), 0) AS concurrency
    FROM pools
    WHERE pools.queue = wanted.queue
      AND unavailable IS NULL
      AND seen_at > now() - make_interval(secs => %(within_seconds)s)
) AS living
CROSS JOIN LATERAL (
    SELECT
        count(*) AS attempts,
        count(*) FILTER (WHERE state = 'done') AS successes,
        (avg(extract(epoch FROM finished_at - started_at)) * 1000)::float8 AS average_latency_ms
    FROM (
        SELECT state, started_at, finished_at
        FROM steps
        WHERE steps.arm = wanted.arm
          AND state IN ('done', 'failed')
          AND reuses IS NULL
          AND finished_at > now() - make_interval(days => %(days)s)
        ORDER BY finished_at DESC
        LIMIT 1000
    ) AS ended
) AS history
ORDER BY position

-- name: declare
-- Upsert what a tenant declared about an arm.
INSERT INTO declarations (tenant, arm, status, metadata, declared_by)
VALUES (%(tenant)s, %(arm)s, %(status)s, %(metadata)s::jsonb, %(declared_by)s)
ON CONFLICT (tenant, arm) DO UPDATE
SET status = excluded.status,
    metadata = excluded.metadata,
    declared_by = excluded.declared_by,
    declared_at = now()

-- name: read
-- Returns the given tasks whose results may be served now, in the given order; no row while the layer is switched off.
SELECT t.id AS task_id, t.cache_key, t.contract ->> 'goal' AS goal,
    extract(epoch FROM t.fresh_until - now())::float8 AS left_seconds
FROM tasks t
WHERE t.id = ANY(%(ids)s) AND t.tenant = %(tenant)s AND t.cache_key IS NOT NULL AND t.fresh_until > now()
    AND NOT EXISTS (
        SELECT FROM cache_switches w WHERE w.tenant = t.tenant AND w.layer = 'alias' AND w.off_until > now()
    )
    AND (%(max_age)s::float8 IS NULL OR t.finished_at >= now() - %(max_age)s::float8 * interval '1 second')
ORDER BY array_position(%(ids)s, t.id);

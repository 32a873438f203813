-- name: read
-- The plan with which a task of the tenant's was completed.
SELECT t.cache_key, t.contract ->> 'goal' AS goal, r.plan
FROM tasks t
JOIN rounds r ON r.task_id = t.id AND r.number = t.round
WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s AND t.status = 'completed' AND t.cache_key IS NOT NULL;

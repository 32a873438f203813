-- name: record_wrong_hit
-- Records a client's report of a wrong hit. A second report of the same task only replaces the reason. A coalesced task
-- was answered by an equal key, so its report counts for the exact layer.
INSERT INTO cache_audits (task_id, kind, tenant, layer, source_task_id, agrees, reason, decided_at)
SELECT t.id, 'report', t.tenant, replace(t.cache ->> 'layer', 'coalesced', 'exact'), t.cache ->> 'source_task_id', false, %(reason)s, now()
FROM tasks t
WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s AND t.status = 'completed' AND t.cache IS NOT NULL
ON CONFLICT (task_id, kind) DO UPDATE
SET reason = excluded.reason
RETURNING layer;

-- name: switch_off
-- Switches the layer off for the tenant if it was reported more than max_reports times within `days`; else no row.
INSERT INTO cache_switches (tenant, layer, off_until, reason)
SELECT %(tenant)s, %(layer)s, now() + make_interval(days => %(days)s), count(*) || ' hits were reported as wrong'
FROM cache_audits a
WHERE a.tenant = %(tenant)s AND a.layer = %(layer)s AND a.kind = 'report' AND a.agrees IS NOT NULL
    AND a.decided_at > now() - make_interval(days => %(days)s)
HAVING count(*) > %(max_reports)s
ON CONFLICT (tenant, layer) DO UPDATE
SET off_until = excluded.off_until, reason = excluded.reason
RETURNING layer;

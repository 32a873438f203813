-- name: sample
-- Hits of the last half minute that fall into their layer's share, by a hash of their ids, and are not audited yet.
SELECT t.id, t.tenant, t.cache ->> 'layer', s.id, t.contract, s.result ->> 'output'
FROM tasks t
JOIN tasks s ON s.id = t.cache ->> 'source_task_id'
WHERE t.cache IS NOT NULL AND t.finished_at > now() - interval '30 seconds' AND t.status = 'completed'
    AND (('x' || substr(md5(t.id), 1, 8))::bit(32)::bigint & 65535) < 65536 * CASE t.cache ->> 'layer'
        WHEN 'exact' THEN %(exact)s
        WHEN 'alias' THEN %(alias)s
        ELSE 0
    END
    AND NOT EXISTS (SELECT FROM cache_audits a WHERE a.task_id = t.id AND a.kind = 'audit')
ORDER BY t.finished_at
LIMIT %(limit)s;

-- name: open_audit
INSERT INTO cache_audits (task_id, kind, tenant, layer, source_task_id, rerun_task_id)
VALUES (%(task_id)s, 'audit', %(tenant)s, %(layer)s, %(source_task_id)s, %(rerun_task_id)s)
ON CONFLICT (task_id, kind) DO NOTHING;

-- name: ended_reruns
-- Audits that can be decided; a source that is gone leaves nothing to compare, an empty result.
SELECT a.task_id, a.tenant, a.layer, coalesce(s.result, '{}'::jsonb), r.status, r.result, r.error, v.verdict
FROM cache_audits a
JOIN tasks r ON r.id = a.rerun_task_id
LEFT JOIN tasks s ON s.id = a.source_task_id
LEFT JOIN rounds v ON v.task_id = r.id AND v.number = r.round
WHERE a.decided_at IS NULL AND r.finished_at IS NOT NULL
ORDER BY a.created_at
LIMIT %(limit)s
FOR UPDATE OF a SKIP LOCKED;

-- name: decide
UPDATE cache_audits
SET agrees = %(agrees)s, reason = %(reason)s, decided_at = now()
WHERE task_id = %(task_id)s AND kind = 'audit' AND decided_at IS NULL;

-- name: report
-- What a client says counts as an audit that disagrees; saying it twice changes nothing. Who followed an equal task
-- was answered by the key, as by the exact layer.
INSERT INTO cache_audits (task_id, kind, tenant, layer, source_task_id, agrees, reason, decided_at)
SELECT t.id, 'report', t.tenant, replace(t.cache ->> 'layer', 'coalesced', 'exact'), t.cache ->> 'source_task_id', false, %(reason)s, now()
FROM tasks t
WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s AND t.status = 'completed' AND t.cache IS NOT NULL
ON CONFLICT (task_id, kind) DO UPDATE
SET reason = excluded.reason
RETURNING layer;

-- name: standing
SELECT (count(*) FILTER (WHERE a.kind = 'audit'))::int AS audited,
    (count(*) FILTER (WHERE a.kind = 'audit' AND NOT a.agrees))::int AS wrong,
    (count(*) FILTER (WHERE a.kind = 'report'))::int AS reports
FROM cache_audits a
WHERE a.tenant = %(tenant)s AND a.layer = %(layer)s AND a.agrees IS NOT NULL
    AND a.decided_at > now() - make_interval(days => %(days)s);

-- name: switch_off
INSERT INTO cache_switches (tenant, layer, off_until, reason)
VALUES (%(tenant)s, %(layer)s, now() + make_interval(days => %(days)s), %(reason)s)
ON CONFLICT (tenant, layer) DO UPDATE
SET off_until = excluded.off_until, reason = excluded.reason;

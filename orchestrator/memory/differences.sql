-- name: rows
-- Read the rows that stand for a round: of each step the latest one up to it, with what its inputs were and the sha256
-- of its output. What is reused is read from the row that holds it. The row that gathers a for_each has the sources of
-- the row that read its list.
SELECT DISTINCT ON (s.name) s.name, coalesce(s.reuses, s.id) AS id, coalesce(origin.task_id, s.task_id) AS task_id,
    s.round, s.state, coalesce(s.spec ->> 'arm', s.arm) AS arm, s.spec ->> 'action' AS action,
    jsonb_build_array(s.spec -> 'inputs', s.spec -> 'for_each', s.spec -> 'feedback') AS asked,
    coalesce((
        SELECT spread.bindings
        FROM steps spread
        WHERE spread.task_id = coalesce(origin.task_id, s.task_id) AND spread.round = coalesce(origin.round, s.round)
            AND spread.name = s.name || '[]'
    ), origin.bindings, s.bindings) AS bindings,
    encode(sha256(convert_to((coalesce(s.result, origin.result) -> 'output')::text, 'UTF8')), 'hex') AS output_sha256,
    octet_length((coalesce(s.result, origin.result) -> 'output')::text) AS output_bytes,
    left(coalesce(s.result, origin.result) #>> '{output,summary}', 300) AS summary,
    coalesce(s.result, origin.result) #>> '{error,code}' AS error_code,
    (extract(epoch FROM coalesce(origin.finished_at, s.finished_at) - coalesce(origin.started_at, s.started_at)) * 1000)::bigint
        AS duration_ms
FROM steps s
LEFT JOIN steps origin ON origin.id = s.reuses
WHERE s.task_id = %(task_id)s AND s.kind = 'step' AND s.round BETWEEN 1 AND %(round)s AND s.parent IS NULL
ORDER BY s.name, s.round DESC;

-- name: parts
-- Read the sha256 of parts of outputs: of each row the part at a path, and the whole of an output that is in a file.
SELECT wanted.id, wanted.path,
    encode(sha256(convert_to(coalesce((
        (coalesce(s.result, origin.result) -> 'output') #> CASE
            WHEN coalesce(s.result, origin.result) ->> 'artifact' IS NOT NULL THEN '{}'
            ELSE ARRAY(SELECT jsonb_array_elements_text(wanted.path::jsonb))
        END
    )::text, ''), 'UTF8')), 'hex') AS sha256
FROM (SELECT DISTINCT * FROM unnest(%(ids)s::text[], %(paths)s::text[]) AS given (id, path)) wanted
JOIN steps s ON s.id = wanted.id
LEFT JOIN steps origin ON origin.id = s.reuses;

-- name: round
-- Read what a round used and how long it took, until now if it is not concluded. A cost is null if one is not known.
SELECT coalesce(sum(l.spent_tokens), 0)::bigint AS tokens,
    CASE WHEN bool_and(l.step_id IS NULL OR l.spent_cost IS NOT NULL) THEN coalesce(sum(l.spent_cost), 0) END AS cost,
    (extract(epoch FROM coalesce(r.concluded_at, t.finished_at, now()) - r.created_at) * 1000)::bigint AS milliseconds
FROM rounds r
JOIN tasks t ON t.id = r.task_id
LEFT JOIN steps s ON s.task_id = r.task_id AND s.round = r.number
LEFT JOIN ledger l ON l.step_id = s.id AND l.settled_at IS NOT NULL
WHERE r.task_id = %(task_id)s AND r.number = %(number)s
GROUP BY r.concluded_at, r.created_at, t.finished_at;

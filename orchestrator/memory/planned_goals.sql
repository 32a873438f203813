-- name: recall
-- Store a goal for later plans if `is_kept`, and return the tenant's ended tasks with the likest goals, the likest
-- first, with the shapes of their plans and how they ended: of inputs and outputs nothing. Only the tenant's latest
-- goals are compared, so that the cost has a bound. Likeness is 0 to 1: the share of common words, or the cosine of
-- the angle that the differing signs tell of (orchestrator/cache/semantic.py), whichever is greater.
WITH kept AS (
    INSERT INTO planned_goals (task_id, tenant, words, meaning)
    SELECT t.id, t.tenant, %(words)s::text[], %(meaning)s::bit varying
    FROM tasks t
    WHERE t.id = %(task_id)s AND t.tenant = %(tenant)s AND %(is_kept)s
    ON CONFLICT (task_id) DO NOTHING
), latest AS MATERIALIZED (
    SELECT g.task_id, g.words, CASE WHEN length(g.meaning) = length(%(meaning)s::bit varying) THEN g.meaning END AS meaning
    FROM planned_goals g
    WHERE g.tenant = %(tenant)s AND g.task_id <> %(task_id)s
    ORDER BY g.task_id DESC
    LIMIT %(max_compared)s
), measured AS (
    SELECT l.task_id, greatest(
        (SELECT count(*) FROM unnest(l.words) word WHERE word = ANY(%(words)s::text[]))::float8
            / greatest(cardinality(l.words), cardinality(%(words)s::text[])),
        cos(pi() * length(replace((l.meaning # %(meaning)s::bit varying)::text, '0', ''))
            / nullif(length(l.meaning), 0))
    ) AS likeness
    FROM latest l
), near AS (
    SELECT task_id, likeness
    FROM measured
    WHERE likeness >= %(least_likeness)s
    ORDER BY likeness DESC, task_id DESC
    LIMIT %(max_near)s
)
SELECT t.id AS task_id, t.contract ->> 'goal' AS goal, near.likeness, t.round AS rounds,
    t.error ->> 'code' AS error_code, r.verdict ->> 'decision' AS decision,
    (r.plan -> 'provenance' ->> 'corrections')::int AS corrections,
    ARRAY(
        SELECT jsonb_build_object('id', step -> 'id', 'arm', step -> 'arm', 'action', step -> 'action',
            'depends_on', step -> 'depends_on')
        FROM jsonb_array_elements(r.plan -> 'steps') WITH ORDINALITY AS planned (step, position)
        ORDER BY position
        LIMIT %(max_steps)s
    ) AS steps,
    jsonb_array_length(r.plan -> 'steps') AS step_count,
    ARRAY(
        SELECT left(unmet #>> '{}', %(max_text)s)
        FROM jsonb_path_query(r.verdict, '$.findings[*] ? (@.met == false && @.required == true).criterion') unmet
        LIMIT %(max_faults)s
    ) AS unmet,
    ARRAY(
        SELECT jsonb_build_array(s.name, s.result -> 'error' -> 'code')
        FROM steps s
        WHERE s.task_id = t.id AND s.round = t.round AND s.kind = 'step' AND s.state = 'failed'
        ORDER BY s.name
        LIMIT %(max_faults)s
    ) AS failed
FROM near
JOIN tasks t ON t.id = near.task_id AND t.tenant = %(tenant)s AND t.status IN ('completed', 'failed')
JOIN rounds r ON r.task_id = t.id AND r.number = t.round
ORDER BY near.likeness DESC, t.id DESC;

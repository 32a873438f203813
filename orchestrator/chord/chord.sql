-- name: open
-- Open a chord. Opening it again while it exists changes nothing; a chord with a header of size 0 is ready at once.
INSERT INTO chords (id, body, header, size, state, ready_at)
VALUES (
    %(chord_id)s, %(body)s, %(header)s, %(size)s,
    CASE WHEN %(size)s = 0 THEN 'ready' ELSE 'open' END,
    CASE WHEN %(size)s = 0 THEN now() END
)
ON CONFLICT (id) DO NOTHING

-- name: reopen
-- Open a chord whose signature may be applied again: a fired chord starts again and its old parts are deleted.
WITH old_parts AS (
    DELETE FROM chord_parts p
    USING chords c
    WHERE c.id = %(chord_id)s
      AND c.state = 'fired'
      AND p.chord_id = c.id
)
INSERT INTO chords AS c (id, body, header, size, state, ready_at)
VALUES (
    %(chord_id)s, %(body)s, %(header)s, %(size)s,
    CASE WHEN %(size)s = 0 THEN 'ready' ELSE 'open' END,
    CASE WHEN %(size)s = 0 THEN now() END
)
ON CONFLICT (id) DO UPDATE
SET body = excluded.body,
    header = excluded.header,
    size = excluded.size,
    added = 0,
    done = 0,
    state = excluded.state,
    ready_at = excluded.ready_at,
    opened_at = now()
WHERE c.state = 'fired'

-- name: resize
-- Set the number of header tasks once it is known, which may complete the chord. Inserts the row if the chord was
-- not announced.
INSERT INTO chords AS c (id, size)
VALUES (%(chord_id)s, %(size)s)
ON CONFLICT (id) DO UPDATE
SET size = excluded.size,
    state = CASE WHEN c.done >= excluded.size + c.added THEN 'ready' ELSE 'open' END,
    ready_at = CASE WHEN c.done >= excluded.size + c.added THEN now() END
WHERE c.state = 'open'
RETURNING state, body, header

-- name: keep_body
-- Store the body of a chord that was not announced.
UPDATE chords
SET body = %(body)s
WHERE id = %(chord_id)s
  AND body IS NULL

-- name: is_missing
-- Check whether one of the engine's tables is missing.
SELECT bool_or(to_regclass(name) IS NULL)
FROM unnest(ARRAY['results', 'groups', 'chords', 'chord_parts']) AS name

-- name: lock_schema
-- Let one process at a time create the tables: concurrent CREATE TABLE IF NOT EXISTS statements can fail.
SELECT pg_advisory_xact_lock(hashtext('octollm chord engine'))

-- name: lock
-- Lock the chord's row, the first lock in the one lock order.
SELECT state
FROM chords
WHERE id = %(chord_id)s
FOR UPDATE

-- name: join
-- Add members. A member that has joined already is not added twice: the part's row decides.
WITH members AS (
    INSERT INTO chord_parts (chord_id, task_id, idx)
    SELECT %(chord_id)s, unnest(%(task_ids)s::text[]), -1
    ON CONFLICT (chord_id, task_id, idx) DO NOTHING
    RETURNING 1
)
INSERT INTO chords AS c (id, added)
SELECT %(chord_id)s, count(*)
FROM members
HAVING count(*) > 0
ON CONFLICT (id) DO UPDATE
SET added = c.added + excluded.added
WHERE c.state = 'open'

-- name: count_part
-- Store a result, its part and the count in one statement. The part's row makes a message that is delivered twice
-- count once. The upsert of the chord's row waits for other parts and sees their counts, so exactly one part turns
-- the chord from open to ready. The chord's row comes last, because it stays locked until the commit is on disk.
-- Returns the chord's state; body and header only when it is ready.
WITH stored AS (
    INSERT INTO results AS r (task_id, status, value, traceback, meta)
    SELECT %(task_id)s, %(status)s, %(value)s::bytea, %(traceback)s, %(meta)s::bytea
    WHERE %(store)s
    ON CONFLICT (task_id) DO UPDATE
    SET status = excluded.status,
        value = excluded.value,
        traceback = excluded.traceback,
        meta = excluded.meta,
        stored_at = now()
    WHERE r.status <> 'SUCCESS'
    RETURNING 1
),
chord AS (
    SELECT state, body, header
    FROM chords
    WHERE id = %(chord_id)s
),
part AS (
    INSERT INTO chord_parts AS p (chord_id, task_id, idx, failed, value, counted_at)
    SELECT
        %(chord_id)s, %(task_id)s, %(idx)s, %(failed)s,
        CASE WHEN %(keep_value)s THEN %(value)s::bytea END, now()
    FROM (SELECT count(*) FROM stored) AS result_first
    WHERE NOT EXISTS (SELECT FROM chord WHERE state <> 'open')
    ON CONFLICT (chord_id, task_id, idx) DO UPDATE
    SET failed = excluded.failed,
        value = excluded.value,
        counted_at = excluded.counted_at
    WHERE p.failed IS NULL
    RETURNING 1
),
counted AS (
    INSERT INTO chords AS c (id, done)
    SELECT %(chord_id)s, 1
    FROM part
    ON CONFLICT (id) DO UPDATE
    SET done = c.done + 1,
        state = CASE WHEN c.done + 1 >= c.size + c.added THEN 'ready' ELSE 'open' END,
        ready_at = CASE WHEN c.done + 1 >= c.size + c.added THEN now() END
    WHERE c.state = 'open'
    RETURNING c.state, c.body, c.header
),
seen AS (
    SELECT state, body, header FROM counted
    UNION ALL
    SELECT state, body, header FROM chord WHERE NOT EXISTS (SELECT FROM counted)
)
SELECT
    state,
    CASE WHEN state = 'ready' THEN body END AS body,
    CASE WHEN state = 'ready' THEN header END AS header,
    body IS NULL AS lacks_body
FROM seen

-- name: part_values
-- Read what the counted parts returned, in the header's order. Without %(all)s, only those that failed.
SELECT p.task_id, p.failed, coalesce(p.value, r.value) AS value
FROM chord_parts p
LEFT JOIN results r ON r.task_id = p.task_id
WHERE p.chord_id = %(chord_id)s
  AND p.failed IS NOT NULL
  AND (%(all)s OR p.failed)
ORDER BY nullif(p.idx, -1) NULLS LAST, p.counted_at, p.task_id

-- name: ready
-- Take chords that are ready but not fired, and delay each by the same time, so that two sweepers take different
-- ones.
UPDATE chords
SET ready_at = now()
WHERE id = ANY(ARRAY(
    SELECT id
    FROM chords
    WHERE state = 'ready'
      AND body IS NOT NULL
      AND ready_at <= now() - %(older_than_seconds)s * interval '1 second'
    ORDER BY ready_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id, body, header

-- name: mark_fired
-- Record that the body has been published. This commit does not wait for the disk: if Postgres crashes now, the body
-- is published once more.
UPDATE chords
SET state = 'fired'
WHERE id = %(chord_id)s
  AND state = 'ready'
  AND set_config('synchronous_commit', 'off', true) = 'off'

-- name: close
-- Close a chord whose body must not run any more; a chord whose body was published stays fired.
UPDATE chords
SET state = 'closed'
WHERE id = %(chord_id)s
  AND state IN ('open', 'ready')

-- name: forget
-- Delete chords with their parts, and the results of tasks.
WITH parts AS (
    DELETE FROM chord_parts
    WHERE chord_id = ANY(%(chord_ids)s)
), stored AS (
    DELETE FROM results
    WHERE task_id = ANY(%(task_ids)s)
)
DELETE FROM chords
WHERE id = ANY(%(chord_ids)s)

-- name: expire
-- Delete old chords with their parts: ended ones, and waiting ones if %(open_too)s.
WITH old_chords AS (
    DELETE FROM chords
    WHERE opened_at < now() - %(seconds)s * interval '1 second'
      AND (state IN ('fired', 'closed') OR size IS NULL OR %(open_too)s)
    RETURNING id
)
DELETE FROM chord_parts p
USING old_chords o
WHERE p.chord_id = o.id

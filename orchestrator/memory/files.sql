-- name: put_artifact
-- Insert a file's description. If the same content is uploaded twice at once, the second upload waits on the primary
-- key and then updates the row; `xmax` is 0 only for a row that this statement inserted. Content that is stored again
-- after a day counts as new, so that it is not deleted as old before a task refers to it.
INSERT INTO artifacts (tenant, sha256, filename, media_type, size_bytes)
VALUES (%(tenant)s, %(sha256)s, %(filename)s, %(media_type)s, %(size_bytes)s)
ON CONFLICT (tenant, sha256) DO UPDATE
SET filename = excluded.filename,
    media_type = excluded.media_type,
    created_at = CASE
        WHEN artifacts.created_at < now() - interval '1 day' THEN now()
        ELSE artifacts.created_at
    END
RETURNING created_at, xmax = 0 AS is_new

-- name: put_chunk
-- Insert one chunk of a new file.
INSERT INTO artifact_chunks (tenant, sha256, number, content)
VALUES (%(tenant)s, %(sha256)s, %(number)s, %(content)s)

-- name: describe_artifacts
-- Read descriptions of files, in the requested order.
SELECT artifacts.sha256, filename, media_type, size_bytes, created_at
FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (sha256, position)
JOIN artifacts ON artifacts.tenant = %(tenant)s AND artifacts.sha256 = wanted.sha256
ORDER BY position

-- name: read_chunks
-- Read a file's chunks in order: one row with NULL for an empty file, no row for an unknown one.
SELECT content
FROM artifacts
LEFT JOIN artifact_chunks USING (tenant, sha256)
WHERE tenant = %(tenant)s
  AND sha256 = %(sha256)s
ORDER BY number

-- name: stored_bytes
-- Sum the sizes of a tenant's files.
SELECT coalesce(sum(size_bytes), 0)::bigint
FROM artifacts
WHERE tenant = %(tenant)s

-- name: hold_artifact
-- Lock a file's description, so that only one request deletes it.
SELECT size_bytes
FROM artifacts
WHERE tenant = %(tenant)s AND sha256 = %(sha256)s
FOR UPDATE

-- name: needs_artifact
-- Find an open task that needs the file, as an attachment, as a step's stored output or as a file that a step saved.
SELECT t.id
FROM tasks t
WHERE t.tenant = %(tenant)s AND t.finished_at IS NULL
    AND t.contract -> 'attachments' <> '[]' AND t.contract -> 'attachments' ? %(sha256)s
UNION ALL
SELECT t.id
FROM steps s
JOIN tasks t ON t.id = s.task_id
WHERE s.result ->> 'artifact' = %(sha256)s AND t.tenant = %(tenant)s AND t.finished_at IS NULL
UNION ALL
SELECT t.id
FROM steps s
JOIN tasks t ON t.id = s.task_id
WHERE s.result -> 'provenance' -> 'files' ? %(sha256)s AND t.tenant = %(tenant)s AND t.finished_at IS NULL
LIMIT 1

-- name: delete_artifact
-- Delete a file with its chunks and its search index.
DELETE FROM artifacts
WHERE tenant = %(tenant)s AND sha256 = %(sha256)s

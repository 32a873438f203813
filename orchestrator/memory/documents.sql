-- name: describe
-- Read which of these documents are indexed, and their counts.
SELECT d.sha256, d.unpacked, d.files, d.passages, d.skipped
FROM documents d
JOIN unnest(%(ids)s::text[], %(unpacked)s::boolean[]) AS wanted (sha256, unpacked) USING (sha256, unpacked)
WHERE d.tenant = %(tenant)s
ORDER BY d.sha256, d.unpacked

-- name: add_document
-- Insert a document. If two steps index it at once, the second waits for the first on the primary key and gets no
-- row, so the passages are written once.
INSERT INTO documents (tenant, sha256, unpacked, files, passages, skipped)
VALUES (%(tenant)s, %(sha256)s, %(unpacked)s, %(files)s, %(passages)s, %(skipped)s::jsonb)
ON CONFLICT DO NOTHING
RETURNING sha256

-- name: add_passages
-- Insert passages of a document.
INSERT INTO passages (tenant, sha256, unpacked, number, file, line, end_line, first_byte, content)
SELECT %(tenant)s, %(sha256)s, %(unpacked)s, new.number, new.file, new.line, new.end_line, new.first_byte, new.content
FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (
    number integer, file text, line integer, end_line integer, first_byte integer, content text
)

-- name: abilities
-- Read which search extensions this server has.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') AS trigrams,
    to_regclass('passage_vectors') IS NOT NULL AS meaning

-- name: without_vectors
-- Read passages of these documents that have no vector of this model yet.
SELECT p.sha256, p.unpacked, p.number, p.content
FROM passages p
JOIN unnest(%(ids)s::text[], %(unpacked)s::boolean[]) AS wanted (sha256, unpacked) USING (sha256, unpacked)
WHERE p.tenant = %(tenant)s AND NOT EXISTS (
    SELECT FROM passage_vectors v
    WHERE v.tenant = p.tenant AND v.sha256 = p.sha256 AND v.unpacked = p.unpacked
        AND v.number = p.number AND v.model = %(model)s
)
ORDER BY p.sha256, p.unpacked, p.number
LIMIT %(limit)s

-- name: add_vectors
-- Insert vectors. If two steps embed a passage at once, the second vector is equal and is dropped.
INSERT INTO passage_vectors (tenant, sha256, unpacked, number, model, embedding)
SELECT %(tenant)s, new.sha256, new.unpacked, new.number, %(model)s, new.embedding::vector
FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (sha256 text, unpacked boolean, number integer, embedding text)
ON CONFLICT DO NOTHING

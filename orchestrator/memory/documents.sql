-- name: describe
-- Which of these documents are indexed, and what is in them.
SELECT d.sha256, d.unpacked, d.files, d.passages, d.skipped
FROM documents d
JOIN unnest(%(ids)s::text[], %(unpacked)s::boolean[]) AS wanted (sha256, unpacked) USING (sha256, unpacked)
WHERE d.tenant = %(tenant)s
ORDER BY d.sha256, d.unpacked

-- name: add_document
-- Two steps that index one document at once: the second waits for the first on the primary key, then finds it
-- there and gets no row, so that passages are written once.
INSERT INTO documents (tenant, sha256, unpacked, files, passages, skipped)
VALUES (%(tenant)s, %(sha256)s, %(unpacked)s, %(files)s, %(passages)s, %(skipped)s::jsonb)
ON CONFLICT DO NOTHING
RETURNING sha256

-- name: add_passages
INSERT INTO passages (tenant, sha256, unpacked, number, file, line, end_line, first_byte, content)
SELECT %(tenant)s, %(sha256)s, %(unpacked)s, new.number, new.file, new.line, new.end_line, new.first_byte, new.content
FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (
    number integer, file text, line integer, end_line integer, first_byte integer, content text
)

-- name: abilities
-- What this server can search by besides words; the extensions may be missing.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') AS trigrams,
    to_regclass('passage_vectors') IS NOT NULL AS meaning

-- name: without_vectors
-- Passages of these documents that this model was not asked about yet.
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
-- Two steps that ask about one passage at once: the second's vector is the same and is dropped.
INSERT INTO passage_vectors (tenant, sha256, unpacked, number, model, embedding)
SELECT %(tenant)s, new.sha256, new.unpacked, new.number, %(model)s, new.embedding::vector
FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (sha256 text, unpacked boolean, number integer, embedding text)
ON CONFLICT DO NOTHING

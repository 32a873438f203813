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

-- name: read_query
-- The query as written (all of it must fit), and its terms with one of them enough; empty when they hold nothing
-- but words too common to be indexed.
SELECT websearch_to_tsquery('english', %(query)s)::text AS every, coalesce(string_agg(
        '( ' || phraseto_tsquery('english', given.term)::text || ' )', ' | ' ORDER BY given.position
    ) FILTER (WHERE numnode(phraseto_tsquery('english', given.term)) > 0), '') AS some
FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS given (term, position)

-- name: search
-- The passages that fit: of indexed documents by the GIN index, and of texts that come with the call. Those that
-- hold more of the terms first, then by cover density.
WITH fitting AS (
    SELECT p.sha256, p.unpacked, p.file, p.line, p.end_line, p.first_byte, p.content, p.words
    FROM passages p
    JOIN unnest(%(ids)s::text[], %(unpacked)s::boolean[]) AS wanted (sha256, unpacked) USING (sha256, unpacked)
    WHERE p.tenant = %(tenant)s AND p.words @@ %(query)s::tsquery
    UNION ALL
    SELECT NULL, false, given.file, given.line, given.end_line, given.first_byte, given.content, indexed.words
    FROM jsonb_to_recordset(%(given)s::jsonb) AS given (
        file text, line integer, end_line integer, first_byte integer, content text
    ), to_tsvector('english', given.content) AS indexed (words)
    WHERE indexed.words @@ %(query)s::tsquery
), ranked AS (
    SELECT fitting.*, ts_rank_cd(fitting.words, %(query)s::tsquery)::float8 AS score, ARRAY(
            SELECT asked.term
            FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked (term, position)
            WHERE fitting.words @@ phraseto_tsquery('english', asked.term)
            ORDER BY asked.position
        ) AS terms
    FROM fitting
)
SELECT sha256, unpacked, file, line, end_line, first_byte, content, score, terms, count(*) OVER () AS found
FROM ranked
ORDER BY cardinality(terms) DESC, score DESC, sha256 NULLS LAST, unpacked, file, line, first_byte
LIMIT %(limit)s

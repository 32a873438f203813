-- name: read_query
-- Parse the query as written (every word must match) and as alternatives (one of its terms is enough, unwanted words
-- still excluded). Empty if they contain only stop words.
SELECT websearch_to_tsquery('english', %(query)s)::text AS every,
    (any_of.terms::tsquery && websearch_to_tsquery('english', %(unwanted)s))::text AS some
FROM (
    SELECT coalesce(string_agg(
            '( ' || phraseto_tsquery('english', given.term)::text || ' )', ' | ' ORDER BY given.position
        ) FILTER (WHERE numnode(phraseto_tsquery('english', given.term)) > 0), '') AS terms
    FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS given (term, position)
) any_of

-- name: by_words
-- Find matching passages, in indexed documents by the GIN index and in texts that come with the call. Ordered by the
-- number of terms found, then by cover density.
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
    SELECT fitting.*, ts_rank_cd(fitting.words, %(query)s::tsquery) AS density, ARRAY(
            SELECT asked.term
            FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked (term, position)
            WHERE fitting.words @@ phraseto_tsquery('english', asked.term)
            ORDER BY asked.position
        ) AS terms
    FROM fitting
)
SELECT sha256, unpacked, file, line, end_line, first_byte, content, terms, count(*) OVER () AS found
FROM ranked
ORDER BY cardinality(terms) DESC, density DESC, sha256 NULLS LAST, unpacked, file, line, first_byte
LIMIT %(limit)s

-- name: set_likeness
-- Set how similar two spellings must be for %%> in the statement that follows in the same simple query: behind a pooler
-- the next statement may run in another session. A letter missing out of eight gives 0.54.
SELECT set_config('pg_trgm.word_similarity_threshold', %(likeness)s, true);

-- name: by_trigrams
-- Find passages with a word spelt much like a term, in indexed documents by the trigram index and in texts that come
-- with the call. `fits` marks those that also match the words.
WITH near AS (
    SELECT p.sha256, p.unpacked, p.file, p.line, p.end_line, p.first_byte, p.content, p.words, asked.term, asked.position
    FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked (term, position)
    JOIN passages p ON p.content %%> asked.term
    JOIN unnest(%(ids)s::text[], %(unpacked)s::boolean[]) AS wanted (sha256, unpacked) USING (sha256, unpacked)
    WHERE p.tenant = %(tenant)s
    UNION ALL
    SELECT NULL, false, given.file, given.line, given.end_line, given.first_byte, given.content,
        to_tsvector('english', given.content), asked.term, asked.position
    FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked (term, position)
    JOIN jsonb_to_recordset(%(given)s::jsonb) AS given (
        file text, line integer, end_line integer, first_byte integer, content text
    ) ON given.content %%> asked.term
)
SELECT sha256, unpacked, file, line, end_line, first_byte, content,
    array_agg(term ORDER BY position) AS terms, bool_or(words @@ %(query)s::tsquery) AS fits
FROM near
GROUP BY sha256, unpacked, file, line, end_line, first_byte, content
ORDER BY sum(word_similarity(term, content)) DESC, sha256 NULLS LAST, unpacked, file, line, first_byte
LIMIT %(limit)s

-- name: by_meaning
-- Find the indexed passages whose vectors are nearest to the query's.
SELECT p.sha256, p.unpacked, p.file, p.line, p.end_line, p.first_byte, p.content,
    ARRAY[]::text[] AS terms, p.words @@ %(query)s::tsquery AS fits
FROM passage_vectors v
JOIN passages p USING (tenant, sha256, unpacked, number)
JOIN unnest(%(ids)s::text[], %(unpacked)s::boolean[]) AS wanted (sha256, unpacked) USING (sha256, unpacked)
WHERE v.tenant = %(tenant)s AND v.model = %(model)s
    AND vector_dims(v.embedding) = vector_dims(%(vector)s::vector)
ORDER BY v.embedding <=> %(vector)s::vector, p.sha256, p.unpacked, p.file, p.line, p.first_byte
LIMIT %(limit)s

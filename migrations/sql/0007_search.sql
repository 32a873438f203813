-- Search by trigrams (pg_trgm) and by vectors (pgvector). Either extension may be missing, or this role may not create
-- it; search then works without it, and the retriever's result contains a warning.

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX passages_trigrams ON passages USING gin (content gin_trgm_ops);
EXCEPTION
    WHEN feature_not_supported OR undefined_file OR insufficient_privilege THEN
        RAISE NOTICE 'no search by trigrams: %', SQLERRM;
END $$;

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE TABLE passage_vectors (
        tenant text NOT NULL,
        sha256 text COLLATE "C" NOT NULL,
        unpacked boolean NOT NULL,
        number integer NOT NULL,
        -- provider:model; vectors of different models are not comparable
        model text NOT NULL,
        embedding vector NOT NULL,
        PRIMARY KEY (tenant, sha256, unpacked, number, model),
        FOREIGN KEY (tenant, sha256, unpacked, number)
            REFERENCES passages (tenant, sha256, unpacked, number) ON DELETE CASCADE
    );
EXCEPTION
    WHEN feature_not_supported OR undefined_file OR insufficient_privilege THEN
        RAISE NOTICE 'no search by meaning: %', SQLERRM;
        RETURN;
END $$;

DO $$
BEGIN
    -- the same policies as in migration 0006, if it could create them
    IF to_regclass('passage_vectors') IS NULL
        OR NOT (SELECT relrowsecurity FROM pg_class WHERE oid = 'passages'::regclass) THEN
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON passage_vectors TO octollm_tenant;
    ALTER TABLE passage_vectors ENABLE ROW LEVEL SECURITY;
    ALTER TABLE passage_vectors FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON passage_vectors USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON passage_vectors TO octollm_tenant
        USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
END $$;

-- Goals that a model planned, by which later plans find the earlier tasks that are like them. A goal leaves with its
-- task; its plan and how it ended are read from the task itself.
CREATE TABLE planned_goals (
    task_id text COLLATE "C" PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    tenant text NOT NULL,
    -- the goal's content words (orchestrator.similarity.words_of)
    words text[] NOT NULL CHECK (cardinality(words) BETWEEN 1 AND 48),
    -- the signs of the goal's embedding, one bit a dimension; null without an embedding model
    meaning bit varying(8192)
);
CREATE INDEX planned_goals_of_tenant ON planned_goals (tenant, task_id DESC);

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON planned_goals TO octollm_tenant;
    ALTER TABLE planned_goals ENABLE ROW LEVEL SECURITY;
    ALTER TABLE planned_goals FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON planned_goals USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON planned_goals TO octollm_tenant
    USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on planned_goals: % may not grant', current_user;
END $$;

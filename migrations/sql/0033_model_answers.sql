-- Answers of models, by the hash of the request, so that a task can be replayed without asking a model again. They leave
-- with their task. `messages` are the first 16 hex digits of the sha256 of each message: they say which one differs.
-- `answer` is null if it is not kept, and in a replay, whose answers are those of the task that it repeats.
CREATE TABLE model_answers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    tenant text NOT NULL,
    step text NOT NULL,
    round integer NOT NULL,
    attempt integer NOT NULL,
    purpose text NOT NULL,
    work text NOT NULL,
    request_sha256 text COLLATE "C" NOT NULL CHECK (request_sha256 ~ '^[0-9a-f]{64}$'),
    messages text[] NOT NULL CHECK (cardinality(messages) <= 64),
    -- the bytes of material that the question was allowed to have; null if it did not ask
    room integer,
    answer_sha256 text COLLATE "C" NOT NULL CHECK (answer_sha256 ~ '^[0-9a-f]{64}$'),
    answer jsonb
);
CREATE INDEX model_answers_by_step ON model_answers (task_id, step);

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON model_answers TO octollm_tenant;
    ALTER TABLE model_answers ENABLE ROW LEVEL SECURITY;
    ALTER TABLE model_answers FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON model_answers USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON model_answers TO octollm_tenant
    USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on model_answers: % may not grant', current_user;
END $$;

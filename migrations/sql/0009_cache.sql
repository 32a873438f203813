-- The result cache's columns of a task. Redis only finds a candidate; these columns decide.

ALTER TABLE tasks
    -- of the open tasks with one key one leads; the others may follow it instead of running
    ADD COLUMN leads boolean NOT NULL DEFAULT false,
    -- the named parts that cache_key was made from
    ADD COLUMN cache_parts jsonb,
    -- until when the result may answer equal tasks; null if it may not
    ADD COLUMN fresh_until timestamptz,
    -- the source of the result if this task did not run: {layer, source_task_id, age_seconds}
    ADD COLUMN cache jsonb,
    ADD CONSTRAINT tasks_fresh_is_completed CHECK (fresh_until IS NULL OR status = 'completed'),
    ADD CONSTRAINT tasks_key_has_parts CHECK ((cache_key IS NULL) = (cache_parts IS NULL)),
    ADD CONSTRAINT tasks_leader_has_key CHECK (NOT leads OR (cache_key IS NOT NULL AND leader_id IS NULL));

-- coalescing: of two equal submissions the second conflicts here and finds the first
CREATE UNIQUE INDEX tasks_one_leader ON tasks (tenant, cache_key) WHERE leads AND finished_at IS NULL;
CREATE INDEX tasks_fresh ON tasks (tenant, cache_key, finished_at) WHERE fresh_until IS NOT NULL;

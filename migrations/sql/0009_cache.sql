-- What the cache of results knows of a task; Redis only finds, these columns decide.

ALTER TABLE tasks
    -- of tasks under one key one leads, and the others may follow it instead of running
    ADD COLUMN leads boolean NOT NULL DEFAULT false,
    -- what cache_key was made of, by name
    ADD COLUMN cache_parts jsonb,
    -- until when the result may answer for equal tasks; null: it may not
    ADD COLUMN fresh_until timestamptz,
    -- where the result came from when this task did not run: {layer, source_task_id, age_seconds}
    ADD COLUMN cache jsonb,
    ADD CONSTRAINT tasks_fresh_is_completed CHECK (fresh_until IS NULL OR status = 'completed'),
    ADD CONSTRAINT tasks_key_has_parts CHECK ((cache_key IS NULL) = (cache_parts IS NULL)),
    ADD CONSTRAINT tasks_leader_has_key CHECK (NOT leads OR (cache_key IS NOT NULL AND leader_id IS NULL));

-- single flight: two equal submissions meet here, the second finds the first
CREATE UNIQUE INDEX tasks_one_leader ON tasks (tenant, cache_key) WHERE leads AND finished_at IS NULL;
CREATE INDEX tasks_fresh ON tasks (tenant, cache_key, finished_at) WHERE fresh_until IS NOT NULL;

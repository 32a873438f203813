-- Retries: a task that repeats an ended one and refers to the results of its finished steps. Also indexes for queries
-- over many ended tasks.

-- the task that this one repeats; retention keeps it as long as this one
ALTER TABLE tasks ADD COLUMN retry_of text COLLATE "C" REFERENCES tasks (id);
CREATE INDEX tasks_retry_of ON tasks (retry_of) WHERE retry_of IS NOT NULL;

-- the row that did the work and holds the result; never a row that reuses another one
ALTER TABLE steps ADD COLUMN reuses text COLLATE "C" REFERENCES steps (id);
CREATE INDEX steps_reuses ON steps (reuses) WHERE reuses IS NOT NULL;
ALTER TABLE steps
    DROP CONSTRAINT steps_end_has_result,
    ADD CONSTRAINT steps_end_has_result
        CHECK (state NOT IN ('done', 'failed') OR (result IS NOT NULL) <> (reuses IS NOT NULL)),
    -- a reused step is done from the start and never runs
    ADD CONSTRAINT steps_reused_is_done CHECK (reuses IS NULL OR (state = 'done' AND attempt = 0));

-- for `octollm dead`: steps that killed their workers
CREATE INDEX steps_poisoned ON steps (finished_at, id)
    WHERE state = 'failed' AND result #>> '{error,code}' = 'poison_step';

-- for retention: old files, and the tasks that attach a file
CREATE INDEX artifacts_created ON artifacts (created_at, sha256);
CREATE INDEX tasks_attachments ON tasks USING gin ((contract -> 'attachments')) WHERE contract -> 'attachments' <> '[]';

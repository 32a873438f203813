-- The step of the plan to which a row of a for_each belongs: the spread that reads its list, and its items. Null in
-- ordinary rows, and in the one that gathers the items, which has the step's own name.
ALTER TABLE steps
    ADD COLUMN parent text,
    -- prevents an item that nobody waits for. NOT VALID: the column is null in all rows that are there
    ADD CONSTRAINT steps_part_frees_its_gather CHECK (parent IS NULL OR (kind = 'step' AND cardinality(unblocks) = 1))
    NOT VALID;
CREATE INDEX steps_parts ON steps (task_id, round, parent) WHERE parent IS NOT NULL;

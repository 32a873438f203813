-- The attempt whose event step.started is not written yet; null if it is. A claim of a step does not lock the task and
-- so can't number an event: a later transaction that holds the task's lock writes it. The previous release, which writes
-- the event with the claim, leaves the column as it was: it then names an earlier attempt, which counts as written.
ALTER TABLE steps ADD COLUMN unannounced integer;

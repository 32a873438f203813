-- Deleting a task clears cache_audits.rerun_task_id where it names the task. cache_audits_open covers undecided audits
-- only, so each deleted task read the whole table: 200 tasks a batch, 100,000 audits each.
CREATE INDEX cache_audits_by_rerun ON cache_audits (rerun_task_id) WHERE rerun_task_id IS NOT NULL;

-- Errors of the cache: hits that were run again and compared (an earlier release), and hits reported as wrong.

CREATE TABLE cache_audits (
    -- the task that was answered from the cache
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('audit', 'report')),
    tenant text NOT NULL,
    layer text NOT NULL CHECK (layer IN ('exact', 'alias')),
    source_task_id text COLLATE "C" NOT NULL,
    -- the task that ran it again; null for a report
    rerun_task_id text COLLATE "C" REFERENCES tasks (id) ON DELETE SET NULL,
    -- null if undecided, or if nothing could be compared
    agrees boolean,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    PRIMARY KEY (task_id, kind),
    CONSTRAINT cache_audits_decided_has_time CHECK (agrees IS NULL OR decided_at IS NOT NULL)
);
CREATE INDEX cache_audits_by_layer ON cache_audits (tenant, layer, decided_at) WHERE agrees IS NOT NULL;
CREATE INDEX cache_audits_open ON cache_audits (rerun_task_id) WHERE decided_at IS NULL;

-- Cache layers that were wrong too often; they are off for the tenant until this time.
CREATE TABLE cache_switches (
    tenant text NOT NULL,
    layer text NOT NULL,
    off_until timestamptz NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (tenant, layer)
);

-- cache hits, for sampling (an earlier release)
CREATE INDEX tasks_hits ON tasks (finished_at) WHERE cache IS NOT NULL AND finished_at IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    FOREACH name IN ARRAY ARRAY['cache_audits', 'cache_switches'] LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO octollm_tenant', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I USING (current_user <> ''octollm_tenant'')', name);
        EXECUTE format(
            $policy$CREATE POLICY one_tenant ON %I TO octollm_tenant
            USING (tenant = nullif(current_setting('octollm.tenant', true), ''))$policy$, name
        );
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on the cache: % may not grant', current_user;
END $$;

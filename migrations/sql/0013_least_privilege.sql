-- Each tenant's own declarations about an arm (POST /v1/arms/register). `arm_declarations`, which is shared by all
-- tenants, stays for the previous release; this release does not read it.
CREATE TABLE declarations (
    tenant text NOT NULL,
    arm text COLLATE "C" NOT NULL,
    status text NOT NULL CHECK (status IN ('healthy', 'degraded', 'unavailable')),
    metadata jsonb NOT NULL DEFAULT '{}',
    declared_by text NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, arm)
);
-- a subject is tenant/key id
INSERT INTO declarations (tenant, arm, status, metadata, declared_by, declared_at)
SELECT split_part(declared_by, '/', 1), arm, status, metadata, declared_by, declared_at
FROM arm_declarations
WHERE declared_by LIKE '_%/%';

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON declarations TO octollm_tenant;
    ALTER TABLE declarations ENABLE ROW LEVEL SECURITY;
    ALTER TABLE declarations FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON declarations USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON declarations TO octollm_tenant
    USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on declarations: % may not grant', current_user;
END $$;

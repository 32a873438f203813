-- Arms that are registered while the system runs (POST /v1/arms/register with a url).
CREATE TABLE registered_arms (
    -- tenant/arm, or arm alone when every tenant may use it
    arm_id text COLLATE "C" PRIMARY KEY,
    -- who registered it and may change it
    tenant text NOT NULL,
    is_shared boolean NOT NULL DEFAULT false,
    -- a complete manifest, checked like those in files
    manifest jsonb NOT NULL,
    url text NOT NULL,
    registered_by text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- deleted by its owner: no plan may name it, but steps that do keep its contract
    is_withdrawn boolean NOT NULL DEFAULT false,
    -- no tenant can take an id that belongs to another tenant
    CONSTRAINT registered_arms_own_id CHECK (
        CASE WHEN is_shared THEN strpos(arm_id, '/') = 0 ELSE starts_with(arm_id, tenant || '/') END
    )
);
CREATE INDEX registered_arms_of_tenant ON registered_arms (tenant, arm_id);
CREATE INDEX registered_arms_shared ON registered_arms (arm_id) WHERE is_shared;
CREATE INDEX registered_arms_expired ON registered_arms (expires_at);

-- HTTP arms whose circuit breaker is open. The breaker itself is in Redis; this row tells the router and GET /v1/arms.
CREATE TABLE arm_outages (
    arm text COLLATE "C" PRIMARY KEY,
    until timestamptz NOT NULL,
    reason text NOT NULL
);

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON registered_arms TO octollm_tenant;
    ALTER TABLE registered_arms ENABLE ROW LEVEL SECURITY;
    ALTER TABLE registered_arms FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON registered_arms USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON registered_arms TO octollm_tenant
    USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on registered_arms: % may not grant', current_user;
END $$;

-- The audit log: who did what, from where, and whether it was allowed. It is separate from the tasks' events because it
-- outlives the tasks. It contains no request bodies and no secrets. Rows are only added.

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- when it happened: the time of the insert minus the seconds the entry waited
    occurred_at timestamptz NOT NULL,
    -- null for an unknown caller
    tenant text,
    -- for a refused credential, the id it claims
    key_id text,
    subject text,
    address text,
    action text NOT NULL,
    object text,
    outcome text NOT NULL CHECK (outcome IN ('allowed', 'denied', 'failed')),
    reason text,
    request_id text,
    -- above 1: the number of entries left out until then
    times integer NOT NULL DEFAULT 1 CHECK (times > 0)
);
CREATE INDEX audit_log_by_time ON audit_log (occurred_at);
CREATE INDEX audit_log_by_tenant ON audit_log (tenant, id);

CREATE FUNCTION keep_audit_log() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- what is older is deleted after AUDIT_RETENTION_DAYS, which is 7 at the least
        IF OLD.occurred_at < now() - interval '7 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is only added to: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_log_is_kept BEFORE UPDATE OR DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION keep_audit_log();
CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log
FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    -- no grants: no statement on behalf of a tenant reads or writes it
    ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
    ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON audit_log USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON audit_log TO octollm_tenant
    USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on audit_log: % may not', current_user;
END $$;

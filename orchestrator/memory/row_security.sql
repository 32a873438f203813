-- name: unprotected
-- List tables with tenants' rows that have no forced policy.
SELECT c.relname
FROM pg_class c
WHERE c.relkind = 'r'
    AND c.relnamespace = CAST(current_schema() AS regnamespace)
    AND c.relname = ANY(%(owned)s || %(children)s)
    AND NOT (
        c.relrowsecurity AND c.relforcerowsecurity
        AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'one_tenant')
    )
ORDER BY c.relname;

-- name: may_become
-- Check that the tenants' role exists and that the current user may become it.
SELECT coalesce(
    pg_has_role(
        current_user, to_regrole('octollm_tenant'),
        CASE WHEN CAST(current_setting('server_version_num') AS int) >= 160000 THEN 'SET' ELSE 'MEMBER' END
    ),
    false
);

-- name: protect_owned
-- Protect one table as migration 0006 does: every role except the tenants' sees all rows.
GRANT SELECT, INSERT, UPDATE ON {table} TO octollm_tenant;
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS all_tenants ON {table};
DROP POLICY IF EXISTS one_tenant ON {table};
CREATE POLICY all_tenants ON {table} USING (current_user <> 'octollm_tenant');
CREATE POLICY one_tenant ON {table} TO octollm_tenant
USING (tenant = nullif(current_setting('octollm.tenant', true), ''));

-- name: protect_child
-- Protect a table whose rows belong to a task. Inserts are not checked: a submission inserts the task in the same
-- statement, where the policy can't see it yet.
GRANT SELECT, INSERT, UPDATE ON {table} TO octollm_tenant;
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS all_tenants ON {table};
DROP POLICY IF EXISTS one_tenant ON {table};
CREATE POLICY all_tenants ON {table} USING (current_user <> 'octollm_tenant');
CREATE POLICY one_tenant ON {table} TO octollm_tenant
USING (
    (SELECT t.tenant FROM tasks t WHERE t.id = {table}.task_id) = nullif(current_setting('octollm.tenant', true), '')
)
WITH CHECK (true);

-- name: let_in
-- Grant the tenants' role the other rights it needs.
DO $$
BEGIN
    EXECUTE 'GRANT USAGE ON SCHEMA ' || quote_ident(current_schema()) || ' TO octollm_tenant';
END $$;
GRANT SELECT ON pools TO octollm_tenant;

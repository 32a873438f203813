-- name: can_confine
-- Check that the role and its policies exist and that the current user may become the role.
SELECT EXISTS (SELECT FROM pg_policies WHERE policyname = 'one_tenant' AND tablename = 'tasks')
    AND pg_has_role(
        current_user, to_regrole('octollm_tenant'),
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END
    )

-- name: confine
-- Set the tenant for the statement that follows in the same simple query. Both are one implicit transaction, so the
-- local settings end with it.
SELECT set_config('role', 'octollm_tenant', true), set_config('octollm.tenant', %(octollm_tenant)s, true);

-- name: can_confine
-- Whether the migration could make role and policies, and we may become that role.
SELECT EXISTS (SELECT FROM pg_policies WHERE policyname = 'one_tenant' AND tablename = 'tasks')
    AND pg_has_role(
        current_user, to_regrole('octollm_tenant'),
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END
    )

-- name: confine
-- Goes before another statement in the same simple query, which is one implicit transaction: what is set locally
-- holds for that statement, and no longer.
SELECT set_config('role', 'octollm_tenant', true), set_config('octollm.tenant', %(octollm_tenant)s, true);

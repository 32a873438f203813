-- name: look
-- Which roles are not there, and whether this user owns the tables, or may do all.
SELECT
    coalesce(array_agg(wanted.name ORDER BY wanted.name) FILTER (WHERE to_regrole(wanted.name) IS NULL), '{}') AS missing,
    coalesce((SELECT pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = to_regclass('tasks')), true)
        AS is_owner,
    current_user AS "user"
FROM unnest(%(names)s::text[]) AS wanted (name);

-- name: make
-- A group, if this user may make one. Roles belong to the cluster: another of its databases may make the same just now.
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION
    WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$;

-- name: tables
SELECT relname
FROM pg_class
WHERE relkind = 'r' AND relnamespace = CAST(current_schema() AS regnamespace);

-- name: renew
-- Takes away every right that a role has here, so that those which follow are all.
DO $$
DECLARE
    here CONSTANT text := quote_ident(current_schema());
BEGIN
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %%s FROM {role}', here);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %%s FROM {role}', here);
    EXECUTE format('GRANT USAGE ON SCHEMA %%s TO {role}', here);
END $$;

-- name: let_api_confine
-- The API's statements on behalf of a tenant run as that role (docs/decisions/0008).
DO $$
BEGIN
    IF to_regrole('octollm_tenant') IS NOT NULL THEN
        GRANT octollm_tenant TO octollm_api;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the role octollm_api does not confine tenants: %% may not grant it octollm_tenant', current_user;
END $$;

-- name: make_login
-- A login of a server of our own. The password is a literal here: ALTER ROLE takes no parameters.
DO $$
BEGIN
    IF to_regrole('{login}') IS NULL THEN
        CREATE ROLE {login} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
    EXECUTE format('ALTER ROLE {login} PASSWORD %%L', %(password)s);
    GRANT {role} TO {login};
END $$;

-- name: inspect
-- Which roles are not there, and who we are.
SELECT
    coalesce(array_agg(wanted.name ORDER BY wanted.name) FILTER (WHERE to_regrole(wanted.name) IS NULL), '{}') AS missing,
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
-- The API's statements on behalf of a tenant run as that role (docs/decisions/0008). It may become it, and does not have
-- its rights as itself: NOINHERIT, before the grant, says so to Postgres 15 and to later ones.
DO $$
BEGIN
    -- only where it is missing: roles belong to the cluster, and two databases may migrate at the same time
    IF to_regrole('octollm_tenant') IS NOT NULL AND NOT pg_has_role('octollm_api', 'octollm_tenant', 'MEMBER') THEN
        ALTER ROLE octollm_api NOINHERIT;
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
END $$;

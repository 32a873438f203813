-- name: inspect
-- Read which roles are missing, and the current user.
SELECT
    coalesce(array_agg(wanted.name ORDER BY wanted.name) FILTER (WHERE to_regrole(wanted.name) IS NULL), '{}') AS missing,
    current_user AS "user"
FROM unnest(%(names)s::text[]) AS wanted (name);

-- name: make
-- Create a group role if this user may. Roles belong to the cluster: a migration of another database may create the
-- same role at the same time.
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION
    WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$;

-- name: tables
-- List the tables of this schema.
SELECT relname
FROM pg_class
WHERE relkind = 'r' AND relnamespace = CAST(current_schema() AS regnamespace);

-- name: functions
-- List functions of this schema that run with their owner's rights and that the current user may grant.
SELECT proname, CAST(CAST(oid AS regprocedure) AS text)
FROM pg_proc
WHERE prosecdef AND proname = ANY(%(names)s) AND pronamespace = CAST(current_schema() AS regnamespace)
    AND pg_has_role(proowner, 'USAGE');

-- name: limit_tenants
-- Let the tenants' role only read approvals and the audit log: row-level security grants it all tables alike, and the
-- API, which may become that role, may not write an approval of its own, or change what was proposed or recorded.
DO $$
BEGIN
    IF to_regrole('octollm_tenant') IS NOT NULL AND to_regclass('approvals') IS NOT NULL THEN
        REVOKE INSERT, UPDATE ON approvals FROM octollm_tenant;
    END IF;
    IF to_regrole('octollm_tenant') IS NOT NULL AND to_regclass('audit_log') IS NOT NULL THEN
        REVOKE INSERT, UPDATE ON audit_log FROM octollm_tenant;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the tenants'' role may write approvals or the audit log: the owner of the tables must run octollm migrate';
END $$;

-- name: renew
-- Revoke every right of a role in this database, so that the following grants are its only ones.
DO $$
DECLARE
    here CONSTANT text := quote_ident(current_schema());
BEGIN
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %%s FROM {role}', here);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %%s FROM {role}', here);
    EXECUTE format('GRANT USAGE ON SCHEMA %%s TO {role}', here);
END $$;

-- name: fix_search_paths
-- Let our functions with their owner's rights look for names in our schema only. Without pg_temp at the end, Postgres
-- looks for tables in the temporary schema of the session first: a caller could put tables of its own there, whose
-- triggers would run with the owner's rights.
DO $$
DECLARE
    wanted CONSTANT text := quote_ident(current_schema()) || ', pg_temp';
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT oid
        FROM pg_proc
        WHERE prosecdef AND starts_with(proname, 'octollm_') AND pronamespace = CAST(current_schema() AS regnamespace)
            AND proconfig IS DISTINCT FROM ARRAY['search_path=' || wanted]
    LOOP
        EXECUTE format('ALTER FUNCTION %%s SET search_path = %%s', ours, wanted);
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'a role may lead %% to tables of its own: its owner must run octollm migrate', ours;
END $$;

-- name: let_api_confine
-- Let the API become the tenants' role for statements on behalf of a tenant (docs/decisions/0008), without having
-- that role's rights itself: NOINHERIT, set before the grant, has this effect on Postgres 15 and later.
DO $$
BEGIN
    -- only if it is missing: roles belong to the cluster, and two databases may migrate at the same time
    IF to_regrole('octollm_tenant') IS NOT NULL AND NOT pg_has_role('octollm_api', 'octollm_tenant', 'MEMBER') THEN
        ALTER ROLE octollm_api NOINHERIT;
        GRANT octollm_tenant TO octollm_api;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the role octollm_api does not confine tenants: %% may not grant it octollm_tenant', current_user;
END $$;

-- name: make_login
-- Create a login on a server of our own. The password is a literal: ALTER ROLE takes no parameters.
DO $$
BEGIN
    IF to_regrole('{login}') IS NULL THEN
        CREATE ROLE {login} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
    EXECUTE format('ALTER ROLE {login} PASSWORD %%L', %(password)s);
END $$;

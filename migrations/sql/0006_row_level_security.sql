-- Row-level security, in addition to the tenant in every query: a statement on behalf of a tenant runs as the role
-- octollm_tenant, which sees only that tenant's rows. docs/decisions/0008-row-level-security.md describes the roles.

DO $$
DECLARE
    owned CONSTANT text[] := ARRAY['tasks', 'artifacts', 'artifact_chunks', 'documents', 'passages', 'submissions'];
    children CONSTANT text[] := ARRAY['rounds', 'steps', 'ledger', 'events', 'traces', 'webhooks'];
    name text;
BEGIN
    BEGIN
        CREATE ROLE octollm_tenant NOLOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT;
    EXCEPTION
        -- roles belong to the cluster: a migration of another database may have created it
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
            IF to_regrole('octollm_tenant') IS NULL THEN
                RAISE WARNING 'row-level security is not enforced: % may not create octollm_tenant', current_user;
                RETURN;
            END IF;
    END;
    BEGIN
        EXECUTE format('GRANT octollm_tenant TO %I', current_user);
    EXCEPTION
        -- a superuser may have granted it already; a user who created the role may grant it to itself, and must
        WHEN insufficient_privilege THEN NULL;
    END;
    BEGIN
        SET LOCAL ROLE octollm_tenant;
        RESET ROLE;
    EXCEPTION
        WHEN insufficient_privilege THEN
            RAISE WARNING 'row-level security is not enforced: % may not become octollm_tenant', current_user;
            RETURN;
    END;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO octollm_tenant', current_schema());
    FOREACH name IN ARRAY owned || children LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO octollm_tenant', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        -- workers and the sweeper act for all tenants, as the owner or as another role with rights on the tables
        EXECUTE format('CREATE POLICY all_tenants ON %I USING (current_user <> ''octollm_tenant'')', name);
    END LOOP;
    GRANT SELECT ON pools TO octollm_tenant;
    FOREACH name IN ARRAY owned LOOP
        EXECUTE format(
            $policy$CREATE POLICY one_tenant ON %I TO octollm_tenant
            USING (tenant = nullif(current_setting('octollm.tenant', true), ''))$policy$, name
        );
    END LOOP;
    FOREACH name IN ARRAY children LOOP
        -- a scalar subquery is looked up by key; EXISTS could become a scan of all of a tenant's tasks
        EXECUTE format(
            $policy$CREATE POLICY one_tenant ON %1$I TO octollm_tenant
            USING (
                (SELECT t.tenant FROM tasks t WHERE t.id = %1$I.task_id)
                    = nullif(current_setting('octollm.tenant', true), '')
            )
            -- a submission makes the task in the same statement, where no policy sees it yet
            WITH CHECK (true)$policy$, name
        );
    END LOOP;
END $$;

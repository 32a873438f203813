-- API keys are made and ended by these functions, which run with their owner's rights: the API may call them, but may
-- neither change a key's scopes or tenant nor bring a revoked or expired key back.

CREATE FUNCTION octollm_make_key_1(
    new_id text, of_tenant text, new_name text, new_environment text, new_sha256 text, new_scopes text[],
    ends_at timestamptz
) RETURNS SETOF api_keys LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO api_keys (id, tenant, name, environment, secret_sha256, scopes, expires_at)
    VALUES (new_id, of_tenant, new_name, new_environment, new_sha256, new_scopes, ends_at)
    RETURNING *
$$;

-- Revokes a key; the first revocation's time stays. A null tenant is any tenant, for operators.
CREATE FUNCTION octollm_revoke_key_1(of_key text, of_tenant text) RETURNS SETOF api_keys
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE api_keys
    SET revoked_at = coalesce(revoked_at, now())
    WHERE id = of_key AND (of_tenant IS NULL OR tenant = of_tenant)
    RETURNING *
$$;

-- Lets a valid key expire soon, unless it expires earlier, and returns what its successor needs: expires_at is the
-- successor's.
CREATE FUNCTION octollm_retire_key_1(of_key text, of_tenant text, overlap_seconds float8) RETURNS SETOF api_keys
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    WITH retired AS (
        UPDATE api_keys k
        SET expires_at = least(k.expires_at, now() + overlap_seconds * interval '1 second')
        FROM (
            SELECT id, now() + (expires_at - created_at) AS successor_expires_at
            FROM api_keys
            WHERE id = of_key AND (of_tenant IS NULL OR tenant = of_tenant)
                AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
            FOR UPDATE
        ) old
        WHERE k.id = old.id
        RETURNING k.*, old.successor_expires_at
    )
    SELECT id, tenant, name, environment, secret_sha256, scopes, created_at, successor_expires_at, revoked_at,
        last_used_at
    FROM retired
$$;

-- The roles' rights name who may call them (orchestrator/memory/roles.py); without these roles, the owner alone may.
REVOKE ALL ON FUNCTION octollm_make_key_1(text, text, text, text, text, text[], timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION octollm_revoke_key_1(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION octollm_retire_key_1(text, text, float8) FROM PUBLIC;

-- The audit log is read by time, in pages and of one tenant.
CREATE INDEX audit_log_by_tenant_and_time ON audit_log (tenant, occurred_at DESC, id DESC);
DROP INDEX audit_log_by_tenant;

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    -- its policy shows a tenant its own entries; it may not write any
    GRANT SELECT ON audit_log TO octollm_tenant;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'tenants may not read their audit entries: % may not grant it', current_user;
END $$;

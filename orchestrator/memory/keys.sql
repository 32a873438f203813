-- name: create_key
-- Insert a new key's digest. Key ids are random: a collision violates the primary key, it never shares a key.
SELECT id, tenant, name, environment, scopes, created_at, expires_at, revoked_at, last_used_at
FROM octollm_make_key_1(
    %(id)s, %(tenant)s, %(name)s, %(environment)s, %(digest)s, %(scopes)s::text[], %(expires_at)s::timestamptz
)

-- name: find_live_key
-- Find a key that is neither expired nor revoked by Postgres' clock.
SELECT tenant, scopes, secret_sha256
FROM api_keys
WHERE id = %(id)s
  AND environment = %(environment)s
  AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > now())

-- name: touch_key
-- Record a use, at most once a minute: precise enough to find unused keys, without a write for every request.
UPDATE api_keys
SET last_used_at = now()
WHERE id = %(id)s
  AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: revoke_key
-- Revoke a key; the first revocation's time stays.
SELECT id, tenant, name, environment, scopes, created_at, expires_at, revoked_at, last_used_at
FROM octollm_revoke_key_1(%(id)s, %(tenant)s)

-- name: retire_key
-- Let a valid key expire soon, unless it expires earlier, and return what its successor needs.
SELECT tenant, name, environment, scopes, expires_at AS successor_expires_at
FROM octollm_retire_key_1(%(id)s, %(tenant)s, %(overlap)s)

-- name: find_key
-- Read a key of a tenant without its digest.
SELECT id, tenant, name, environment, scopes, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE id = %(id)s AND tenant = %(tenant)s

-- name: tenant_of_key
-- Read the tenant of a key.
SELECT tenant
FROM api_keys
WHERE id = %(id)s;

-- name: is_key_revoked
-- Check whether a key was revoked or has expired. An unknown id is not revoked: operators' own tokens have no row.
SELECT EXISTS (
    SELECT FROM api_keys
    WHERE id = %(id)s
      AND (revoked_at IS NOT NULL OR expires_at <= now())
)

-- name: list_keys
-- Read keys without their digests, newest first, below a key.
SELECT id, tenant, name, environment, scopes, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    AND (
        %(before)s::text IS NULL
        OR (created_at, id) < (SELECT last.created_at, last.id FROM api_keys last WHERE last.id = %(before)s)
    )
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

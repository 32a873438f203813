-- name: create_key
-- Stores the digest of a new key. Its id is random: a clash is a primary key violation, never a shared key.
INSERT INTO api_keys (id, tenant, name, environment, secret_sha256, scopes, expires_at)
VALUES (%(id)s, %(tenant)s, %(name)s, %(environment)s, %(digest)s, %(scopes)s::text[], %(expires_at)s)
RETURNING id, tenant, name, environment, scopes, created_at, expires_at, revoked_at, last_used_at

-- name: find_live_key
-- Finds a key that is neither expired nor revoked by Postgres' clock.
SELECT tenant, scopes, secret_sha256
FROM api_keys
WHERE id = %(id)s
  AND environment = %(environment)s
  AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > now())

-- name: touch_key
-- Notes a use. Once a minute is enough to see a key that nobody uses, and spares the row a write a request.
UPDATE api_keys
SET last_used_at = now()
WHERE id = %(id)s
  AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: revoke_key
-- Revokes; a second time keeps the first moment.
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, now())
WHERE id = %(id)s
  AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)

-- name: retire_key
-- Lets a key that holds end soon, and tells what its successor needs. An earlier end stays.
UPDATE api_keys k
SET expires_at = least(k.expires_at, now() + %(overlap)s * interval '1 second')
FROM (
    SELECT id, now() + (expires_at - created_at) AS successor_expires_at
    FROM api_keys
    WHERE id = %(id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    FOR UPDATE
) old
WHERE k.id = old.id
RETURNING k.tenant, k.name, k.environment, k.scopes, old.successor_expires_at

-- name: tenant_of_key
SELECT tenant
FROM api_keys
WHERE id = %(id)s;

-- name: is_key_revoked
-- Tells whether a key stopped to hold. An unknown id is not revoked: the operator's own tokens have no row.
SELECT EXISTS (
    SELECT FROM api_keys
    WHERE id = %(id)s
      AND (revoked_at IS NOT NULL OR expires_at <= now())
)

-- name: list_keys
-- Lists keys without their digests.
SELECT id, tenant, name, environment, scopes, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s
ORDER BY created_at DESC, id

-- name: AddKey :exec
INSERT INTO keyfold_keys (
    id, secret_alg, secret_pepper, secret_sum, hint, prefix, environment, name, notes, owner_id, tenant,
    scopes, networks, metadata, created_at, updated_at, expires_at, idle_timeout, active_at,
    disabled_at, disabled_reason, revoked_at, revoked_reason, lineage_id, rotated_from, rotated_to, version, user_id
) VALUES (
    sqlc.arg(id), sqlc.arg(secret_alg), sqlc.arg(secret_pepper), sqlc.arg(secret_sum), sqlc.arg(hint),
    sqlc.arg(prefix), sqlc.arg(environment), sqlc.arg(name), sqlc.arg(notes), sqlc.arg(owner_id), sqlc.arg(tenant),
    sqlc.arg(scopes), sqlc.arg(networks), sqlc.arg(metadata), sqlc.arg(created_at), sqlc.arg(updated_at),
    sqlc.arg(expires_at), sqlc.arg(idle_timeout), sqlc.arg(active_at), sqlc.arg(disabled_at),
    sqlc.arg(disabled_reason), sqlc.arg(revoked_at), sqlc.arg(revoked_reason), sqlc.arg(lineage_id),
    sqlc.arg(rotated_from), sqlc.arg(rotated_to), sqlc.arg(version), sqlc.arg(user_id)
);

-- name: AddTotal :exec
INSERT INTO keyfold_key_totals (key_id, uses, last_used_at) VALUES (sqlc.arg(key_id), 0, 0);

-- name: KeyRow :one
SELECT * FROM keyfold_key_rows WHERE id = sqlc.arg(id);

-- name: VerifyRow :one
SELECT * FROM keyfold_verify WHERE id = sqlc.arg(id);

-- name: KeysAll :many
SELECT * FROM keyfold_key_rows
WHERE created_at <= sqlc.arg(upto) AND (created_at < sqlc.arg(before) OR id < sqlc.arg(before_id))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(max_rows);

-- name: KeysByOwner :many
SELECT * FROM keyfold_key_rows
WHERE owner_id = sqlc.arg(owner_id)
  AND created_at <= sqlc.arg(upto) AND (created_at < sqlc.arg(before) OR id < sqlc.arg(before_id))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(max_rows);

-- name: KeysByTenant :many
SELECT * FROM keyfold_key_rows
WHERE tenant = sqlc.arg(tenant)
  AND created_at <= sqlc.arg(upto) AND (created_at < sqlc.arg(before) OR id < sqlc.arg(before_id))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(max_rows);

-- name: KeysByUser :many
SELECT * FROM keyfold_key_rows
WHERE user_id = sqlc.arg(user_id)
  AND created_at <= sqlc.arg(upto) AND (created_at < sqlc.arg(before) OR id < sqlc.arg(before_id))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(max_rows);

-- name: KeysExpiring :many
SELECT * FROM keyfold_key_rows
WHERE expires_at >= sqlc.arg(start_at) AND expires_at < sqlc.arg(end_at)
  AND (expires_at > sqlc.arg(after) OR id > sqlc.arg(after_id))
ORDER BY expires_at, id LIMIT sqlc.arg(max_rows);

-- name: KeyIDsByOwner :many
SELECT id FROM keyfold_keys WHERE owner_id = sqlc.arg(owner_id) ORDER BY created_at, id;

-- name: KeyIDsByUser :many
SELECT id FROM keyfold_keys WHERE user_id = sqlc.arg(user_id) ORDER BY created_at, id;

-- name: UpdateKey :execrows
UPDATE keyfold_keys
SET name = sqlc.arg(name), notes = sqlc.arg(notes), owner_id = sqlc.arg(owner_id), tenant = sqlc.arg(tenant),
    scopes = sqlc.arg(scopes), networks = sqlc.arg(networks), metadata = sqlc.arg(metadata),
    idle_timeout = sqlc.arg(idle_timeout), updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version) AND revoked_at IS NULL;

-- name: RenewKey :execrows
UPDATE keyfold_keys
SET expires_at = sqlc.arg(expires_at), active_at = sqlc.arg(active_at), updated_at = sqlc.arg(updated_at),
    version = version + 1
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version) AND revoked_at IS NULL AND rotated_to = '';

-- name: EndKey :execrows
UPDATE keyfold_keys
SET expires_at = sqlc.arg(expires_at), rotated_to = sqlc.arg(rotated_to), updated_at = sqlc.arg(updated_at),
    version = version + 1
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version) AND revoked_at IS NULL AND disabled_at IS NULL
  AND rotated_to = '' AND (expires_at IS NULL OR expires_at > sqlc.arg(now_at));

-- name: RevokeRotated :execrows
UPDATE keyfold_keys
SET revoked_at = sqlc.arg(revoked_at), revoked_reason = sqlc.arg(reason), rotated_to = sqlc.arg(rotated_to),
    updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version) AND revoked_at IS NULL AND disabled_at IS NULL
  AND rotated_to = '' AND (expires_at IS NULL OR expires_at > sqlc.arg(now_at));

-- name: RevokeKey :execrows
UPDATE keyfold_keys
SET revoked_at = sqlc.arg(revoked_at), revoked_reason = sqlc.arg(reason), updated_at = sqlc.arg(updated_at),
    version = version + 1
WHERE id = sqlc.arg(id) AND revoked_at IS NULL;

-- name: DisableKey :execrows
UPDATE keyfold_keys
SET disabled_at = sqlc.arg(disabled_at), disabled_reason = sqlc.arg(reason), updated_at = sqlc.arg(updated_at),
    version = version + 1
WHERE id = sqlc.arg(id) AND revoked_at IS NULL AND disabled_at IS NULL;

-- name: EnableKey :execrows
UPDATE keyfold_keys
SET disabled_at = NULL, disabled_reason = '', active_at = sqlc.arg(active_at), updated_at = sqlc.arg(updated_at),
    version = version + 1
WHERE id = sqlc.arg(id) AND revoked_at IS NULL AND disabled_at IS NOT NULL;

-- name: RehashKey :exec
UPDATE keyfold_keys
SET secret_alg = sqlc.arg(secret_alg), secret_pepper = sqlc.arg(secret_pepper), secret_sum = sqlc.arg(secret_sum)
WHERE id = sqlc.arg(id) AND secret_alg = sqlc.arg(old_alg) AND secret_pepper = sqlc.arg(old_pepper)
  AND secret_sum = sqlc.arg(old_sum);

-- name: DeleteKey :execrows
DELETE FROM keyfold_keys WHERE id = sqlc.arg(id);

-- name: DeleteTotal :exec
DELETE FROM keyfold_key_totals WHERE key_id = sqlc.arg(key_id);

-- name: AddUser :exec
INSERT INTO keyfold_users (
    id, username, username_key, email, email_key, email_verified_at, password_hash, password_version,
    password_changed_at, created_at, updated_at, disabled_at, disabled_reason, keys_made, version
) VALUES (
    sqlc.arg(id), sqlc.arg(username), sqlc.arg(username_key), sqlc.arg(email), sqlc.arg(email_key),
    sqlc.arg(email_verified_at), sqlc.arg(password_hash), sqlc.arg(password_version),
    sqlc.arg(password_changed_at), sqlc.arg(created_at), sqlc.arg(updated_at), sqlc.arg(disabled_at),
    sqlc.arg(disabled_reason), 0, sqlc.arg(version)
);

-- name: UserRow :one
SELECT * FROM keyfold_users WHERE id = sqlc.arg(id);

-- name: UserByUsername :one
SELECT * FROM keyfold_users WHERE username_key = sqlc.arg(username_key);

-- name: UserByEmail :one
SELECT * FROM keyfold_users WHERE email_key = sqlc.arg(email_key);

-- name: UsersAll :many
SELECT * FROM keyfold_users
WHERE created_at <= sqlc.arg(upto) AND (created_at < sqlc.arg(before) OR id < sqlc.arg(before_id))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(max_rows);

-- name: UpdateUser :execrows
UPDATE keyfold_users
SET username = sqlc.arg(username), username_key = sqlc.arg(username_key), email = sqlc.arg(email),
    email_key = sqlc.arg(email_key), email_verified_at = sqlc.arg(email_verified_at),
    updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version);

-- name: SetPassword :execrows
UPDATE keyfold_users
SET password_hash = sqlc.arg(password_hash), password_version = password_version + 1,
    password_changed_at = sqlc.arg(password_changed_at), updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id);

-- name: ChangePassword :execrows
UPDATE keyfold_users
SET password_hash = sqlc.arg(password_hash), password_version = password_version + 1,
    password_changed_at = sqlc.arg(password_changed_at), updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id) AND password_version = sqlc.arg(old_version);

-- name: ResetPassword :execrows
UPDATE keyfold_users
SET password_hash = sqlc.arg(password_hash), password_version = password_version + 1,
    password_changed_at = sqlc.arg(password_changed_at), email_verified_at = sqlc.arg(email_verified_at),
    updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id);

-- name: RehashPassword :exec
UPDATE keyfold_users SET password_hash = sqlc.arg(password_hash)
WHERE id = sqlc.arg(id) AND password_hash = sqlc.arg(old_hash);

-- name: DisableUser :execrows
UPDATE keyfold_users
SET disabled_at = sqlc.arg(disabled_at), disabled_reason = sqlc.arg(reason), updated_at = sqlc.arg(updated_at),
    version = version + 1
WHERE id = sqlc.arg(id) AND disabled_at IS NULL;

-- name: EnableUser :execrows
UPDATE keyfold_users
SET disabled_at = NULL, disabled_reason = '', updated_at = sqlc.arg(updated_at), version = version + 1
WHERE id = sqlc.arg(id) AND disabled_at IS NOT NULL;

-- name: HoldUser :execrows
-- Locks the row until the end of the transaction, before a key is added to the user.
UPDATE keyfold_users SET keys_made = keys_made + 1 WHERE id = sqlc.arg(id);

-- name: DeleteUser :execrows
DELETE FROM keyfold_users WHERE id = sqlc.arg(id);

-- name: DeleteKeysOfUser :exec
DELETE FROM keyfold_keys WHERE user_id = sqlc.arg(user_id);

-- name: AddOneTime :exec
INSERT INTO keyfold_one_times (
    token_sum, purpose, user_id, password_version, email_key, new_email, new_email_key, created_at, expires_at
) VALUES (
    sqlc.arg(token_sum), sqlc.arg(purpose), sqlc.arg(user_id), sqlc.arg(password_version), sqlc.arg(email_key),
    sqlc.arg(new_email), sqlc.arg(new_email_key), sqlc.arg(created_at), sqlc.arg(expires_at)
);

-- name: OneTimeRow :one
SELECT * FROM keyfold_one_times WHERE token_sum = sqlc.arg(token_sum);

-- name: DeleteOneTime :execrows
DELETE FROM keyfold_one_times WHERE token_sum = sqlc.arg(token_sum);

-- name: DeleteOneTimesFor :exec
DELETE FROM keyfold_one_times WHERE user_id = sqlc.arg(user_id) AND purpose = sqlc.arg(purpose);

-- name: DeleteOneTimesOfUser :exec
DELETE FROM keyfold_one_times WHERE user_id = sqlc.arg(user_id);

-- name: OneTimesExpired :many
SELECT * FROM keyfold_one_times WHERE expires_at <= sqlc.arg(at) ORDER BY expires_at LIMIT sqlc.arg(max_rows);

-- name: LockThrottle :execrows
UPDATE keyfold_throttles SET version = version + 1 WHERE name = sqlc.arg(name);

-- name: ThrottleRow :one
SELECT * FROM keyfold_throttles WHERE name = sqlc.arg(name);

-- name: SetThrottle :exec
UPDATE keyfold_throttles
SET attempts = sqlc.arg(attempts), blocked_until = sqlc.arg(blocked_until), expires_at = sqlc.arg(expires_at)
WHERE name = sqlc.arg(name);

-- name: DeleteThrottle :exec
DELETE FROM keyfold_throttles WHERE name = sqlc.arg(name);

-- name: ThrottlesExpired :many
SELECT * FROM keyfold_throttles WHERE expires_at <= sqlc.arg(at) ORDER BY expires_at LIMIT sqlc.arg(max_rows);

-- name: DeleteExpiredThrottle :execrows
DELETE FROM keyfold_throttles WHERE name = sqlc.arg(name) AND expires_at <= sqlc.arg(at);

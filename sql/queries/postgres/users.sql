-- EnsureThrottle locks the row, which it makes where there is none.
-- name: EnsureThrottle :exec
INSERT INTO keyfold_throttles (name, attempts, blocked_until, expires_at, version)
VALUES (sqlc.arg(name), 0, 0, 0, 0) ON CONFLICT (name) DO UPDATE SET version = keyfold_throttles.version + 1;

-- name: DeleteTotalsOfUser :exec
DELETE FROM keyfold_key_totals
WHERE key_id IN (SELECT k.id FROM keyfold_keys k WHERE k.user_id = sqlc.arg(user_id));

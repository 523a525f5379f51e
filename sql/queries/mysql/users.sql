-- EnsureThrottle locks the row, which it makes where there is none.
-- name: EnsureThrottle :exec
INSERT INTO keyfold_throttles (name, attempts, blocked_until, expires_at, version)
VALUES (sqlc.arg(name), 0, 0, 0, 0) ON DUPLICATE KEY UPDATE version = version + 1;

-- name: DeleteTotalsOfUser :exec
-- With a subquery, MariaDB would read and lock the totals of all keys.
DELETE t FROM keyfold_key_totals t JOIN keyfold_keys k ON k.id = t.key_id WHERE k.user_id = sqlc.arg(user_id);

-- name: EnsureThrottle :exec
INSERT INTO keyfold_throttles (name, attempts, blocked_until, expires_at, version)
VALUES (sqlc.arg(name), 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING;

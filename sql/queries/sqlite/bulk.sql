-- One row at a time, in one transaction, prepared once: for what is left when
-- the store has written rows by the hundred.

-- name: AddUses :exec
UPDATE keyfold_key_totals
SET uses = uses + sqlc.arg(uses), last_used_at = max(last_used_at, CAST(sqlc.arg(last_used_at) AS INTEGER))
WHERE key_id = sqlc.arg(key_id);

-- name: AddHour :exec
INSERT INTO keyfold_usage_hours (key_id, hour_at, outcome, uses)
VALUES (sqlc.arg(key_id), sqlc.arg(hour_at), sqlc.arg(outcome), sqlc.arg(uses))
ON CONFLICT (key_id, hour_at, outcome) DO UPDATE SET uses = keyfold_usage_hours.uses + excluded.uses;

-- name: AddWord :exec
INSERT INTO keyfold_words (id, word, used_at) VALUES (sqlc.arg(id), sqlc.arg(word), sqlc.arg(used_at))
ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at WHERE keyfold_words.used_at < excluded.used_at;

-- name: HoursOfKey :many
SELECT * FROM keyfold_usage_hours
WHERE key_id = sqlc.arg(key_id) AND hour_at >= sqlc.arg(start_at) AND hour_at < sqlc.arg(end_at)
ORDER BY hour_at, outcome;

-- name: HoursOfOwner :many
SELECT h.* FROM keyfold_keys k JOIN keyfold_usage_hours h ON h.key_id = k.id
WHERE k.owner_id = sqlc.arg(owner_id) AND h.hour_at >= sqlc.arg(start_at) AND h.hour_at < sqlc.arg(end_at);

-- name: HoursOfUser :many
SELECT h.* FROM keyfold_keys k JOIN keyfold_usage_hours h ON h.key_id = k.id
WHERE k.user_id = sqlc.arg(user_id) AND h.hour_at >= sqlc.arg(start_at) AND h.hour_at < sqlc.arg(end_at);

-- name: NthEvent :one
SELECT * FROM keyfold_usage_events WHERE at < sqlc.arg(before) ORDER BY at, seq LIMIT 1 OFFSET sqlc.arg(nth);

-- name: DeleteEvents :execrows
DELETE FROM keyfold_usage_events WHERE at <= sqlc.arg(upto) AND (at < sqlc.arg(before) OR seq < sqlc.arg(before_seq));

-- name: NthBatchAt :one
SELECT at FROM keyfold_batches WHERE at < sqlc.arg(before) ORDER BY at LIMIT 1 OFFSET sqlc.arg(nth);

-- name: DeleteBatches :execrows
DELETE FROM keyfold_batches WHERE at < sqlc.arg(before);

-- name: NthHour :one
SELECT * FROM keyfold_usage_hours WHERE hour_at < sqlc.arg(before)
ORDER BY hour_at, key_id LIMIT 1 OFFSET sqlc.arg(nth);

-- name: DeleteHours :execrows
DELETE FROM keyfold_usage_hours
WHERE hour_at <= sqlc.arg(upto) AND (hour_at < sqlc.arg(before) OR key_id < sqlc.arg(before_key));

-- name: NthWord :one
SELECT * FROM keyfold_words WHERE used_at < sqlc.arg(before) ORDER BY used_at, id LIMIT 1 OFFSET sqlc.arg(nth);

-- name: DeleteWords :execrows
DELETE FROM keyfold_words WHERE used_at <= sqlc.arg(upto) AND (used_at < sqlc.arg(before) OR id < sqlc.arg(before_id));

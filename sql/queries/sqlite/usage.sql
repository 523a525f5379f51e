-- The queries that differ between engines by no more than how a value is cast.
-- The character of outcomes at place n, from 0, is 1 where the outcome with number
-- n is wanted.

-- name: LatestHour :one
SELECT hour_at FROM keyfold_usage_hours
WHERE key_id = sqlc.arg(key_id) AND hour_at >= sqlc.arg(start_at) AND hour_at <= sqlc.arg(upto)
  AND SUBSTR(CAST(sqlc.arg(outcomes) AS TEXT), outcome + 1, 1) = '1'
ORDER BY hour_at DESC LIMIT 1;

-- name: UsageBlocks :many
-- The blocks that have an id in the range and begin early enough, newest first.
SELECT * FROM keyfold_usage_blocks
WHERE id >= sqlc.arg(lowest) AND id <= sqlc.arg(highest) AND id - span * 32768 <= CAST(sqlc.arg(begins_upto) AS INTEGER)
ORDER BY id DESC LIMIT sqlc.arg(max_rows);

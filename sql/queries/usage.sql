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

-- name: AddUsageBlock :exec
INSERT INTO keyfold_usage_blocks (id, span, events, body)
VALUES (sqlc.arg(id), sqlc.arg(span), sqlc.arg(events), sqlc.arg(body));

-- name: NthUsageBlock :one
SELECT * FROM keyfold_usage_block_heads WHERE id >= sqlc.arg(lowest) AND id < sqlc.arg(before)
ORDER BY id LIMIT 1 OFFSET sqlc.arg(nth);

-- name: UsageBlockHeads :many
SELECT * FROM keyfold_usage_block_heads WHERE id >= sqlc.arg(lowest) AND id < sqlc.arg(before)
ORDER BY id LIMIT sqlc.arg(max_rows);

-- name: UsageBlocksAscending :many
SELECT * FROM keyfold_usage_blocks WHERE id >= sqlc.arg(lowest) AND id < sqlc.arg(before)
ORDER BY id LIMIT sqlc.arg(max_rows);

-- name: DeleteUsageBlocksBefore :execrows
DELETE FROM keyfold_usage_blocks WHERE id < sqlc.arg(before);

-- name: DeleteUsageBlocks :execrows
-- Unused arguments repeat an id.
DELETE FROM keyfold_usage_blocks WHERE id IN (
    sqlc.arg(id0), sqlc.arg(id1), sqlc.arg(id2), sqlc.arg(id3), sqlc.arg(id4), sqlc.arg(id5), sqlc.arg(id6), sqlc.arg(id7),
    sqlc.arg(id8), sqlc.arg(id9), sqlc.arg(id10), sqlc.arg(id11), sqlc.arg(id12), sqlc.arg(id13), sqlc.arg(id14), sqlc.arg(id15)
);

-- name: WordsByID :many
-- Unused arguments repeat an id.
SELECT * FROM keyfold_words WHERE id IN (
    sqlc.arg(id0), sqlc.arg(id1), sqlc.arg(id2), sqlc.arg(id3), sqlc.arg(id4), sqlc.arg(id5), sqlc.arg(id6), sqlc.arg(id7),
    sqlc.arg(id8), sqlc.arg(id9), sqlc.arg(id10), sqlc.arg(id11), sqlc.arg(id12), sqlc.arg(id13), sqlc.arg(id14), sqlc.arg(id15)
);

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

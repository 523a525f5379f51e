-- name: Meta :one
SELECT * FROM keyfold_meta WHERE id = 1;

-- name: ChangesAfter :many
SELECT * FROM keyfold_changes WHERE seq > sqlc.arg(seq) ORDER BY seq LIMIT sqlc.arg(max_rows);

-- name: ChangesBefore :many
SELECT * FROM keyfold_changes WHERE seq < sqlc.arg(seq) ORDER BY seq DESC LIMIT sqlc.arg(max_rows);

-- name: ChangeRow :one
SELECT * FROM keyfold_changes WHERE seq = sqlc.arg(seq);

-- name: ChangesOlder :many
SELECT * FROM keyfold_changes WHERE at < sqlc.arg(before) ORDER BY at, seq LIMIT sqlc.arg(max_rows);

-- name: DeleteChanges :execrows
DELETE FROM keyfold_changes
WHERE at <= sqlc.arg(upto) AND (at < sqlc.arg(before) OR seq <= sqlc.arg(upto_seq)) AND seq <= sqlc.arg(last_seq);

-- name: SetPruned :exec
UPDATE keyfold_meta SET pruned_seq = sqlc.arg(pruned_seq), pruned_tx = sqlc.arg(pruned_tx) WHERE id = 1;

-- name: CountChanges :one
SELECT COUNT(*) FROM keyfold_changes WHERE seq >= sqlc.arg(first_seq) AND seq <= sqlc.arg(last_seq);

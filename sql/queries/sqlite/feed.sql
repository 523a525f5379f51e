-- name: AddChange :exec
INSERT INTO keyfold_changes (tx, at, action, target) VALUES (0, sqlc.arg(at), sqlc.arg(action), sqlc.arg(target));

-- name: ClaimBatch :execrows
INSERT INTO keyfold_batches (recorder_id, batch_no, at)
VALUES (sqlc.arg(recorder_id), sqlc.arg(batch_no), sqlc.arg(at)) ON CONFLICT (recorder_id, batch_no) DO NOTHING;

-- name: AddChange :exec
-- Listeners are notified when the transaction commits. The channel has the
-- name of the feed, since all schemas of a database share one set of channels.
INSERT INTO keyfold_changes (tx, at, action, target)
SELECT pg_current_xact_id()::text::bigint, sqlc.arg(at)::bigint, sqlc.arg(action)::text, sqlc.arg(target)::text
FROM pg_notify('keyfold_' || COALESCE((SELECT feed_id FROM keyfold_meta WHERE id = 1), ''), '');

-- name: ClaimBatch :execrows
INSERT INTO keyfold_batches (recorder_id, batch_no, at)
VALUES (sqlc.arg(recorder_id), sqlc.arg(batch_no), sqlc.arg(at)) ON CONFLICT (recorder_id, batch_no) DO NOTHING;

-- name: PollChanges :many
-- One statement, so that everything in it is of one snapshot: what the feed
-- looks like now, on every row, and the changes that the snapshot given could
-- not see. There is one row with seq NULL when there are none.
SELECT pg_current_snapshot()::text AS snapshot, m.feed_id, m.pruned_seq, m.pruned_tx,
       COALESCE(n.seq, 0)::bigint AS newest_seq, COALESCE(n.at, 0)::bigint AS newest_at, k.at AS mark_at,
       c.seq, c.at, c.action, c.target
FROM keyfold_meta m
LEFT JOIN (SELECT seq, at FROM keyfold_changes ORDER BY seq DESC LIMIT 1) n ON TRUE
LEFT JOIN keyfold_changes k ON k.seq = sqlc.arg(mark)
LEFT JOIN keyfold_changes c
    ON c.tx >= sqlc.arg(xmin) AND NOT pg_visible_in_snapshot(c.tx::text::xid8, sqlc.arg(seen)::text::pg_snapshot)
WHERE m.id = 1
LIMIT sqlc.arg(max_rows);

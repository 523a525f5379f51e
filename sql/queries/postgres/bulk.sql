-- Each statement takes a whole batch: a round trip a row would be most of the time.

-- name: LockTotals :many
SELECT key_id FROM keyfold_key_totals
WHERE key_id = ANY(sqlc.arg(key_ids)::text[]) ORDER BY key_id FOR NO KEY UPDATE;

-- name: AddUses :exec
UPDATE keyfold_key_totals t
SET uses = t.uses + b.uses, last_used_at = GREATEST(t.last_used_at, b.last_used_at)
FROM (
    SELECT unnest(sqlc.arg(key_ids)::text[]) AS key_id, unnest(sqlc.arg(uses)::bigint[]) AS uses,
           unnest(sqlc.arg(last_used_ats)::bigint[]) AS last_used_at
) b
WHERE t.key_id = b.key_id;

-- name: AddHours :exec
INSERT INTO keyfold_usage_hours AS h (key_id, hour_at, outcome, uses)
SELECT unnest(sqlc.arg(key_ids)::text[]), unnest(sqlc.arg(hour_ats)::bigint[]), unnest(sqlc.arg(outcomes)::bigint[]),
       unnest(sqlc.arg(uses)::bigint[])
ON CONFLICT (key_id, hour_at, outcome) DO UPDATE SET uses = h.uses + excluded.uses;

-- name: AddWords :exec
-- ON CONFLICT DO UPDATE would lock words that have nothing to be updated, and
-- batches would wait for each other.
WITH newer AS (
    UPDATE keyfold_words SET used_at = sqlc.arg(used_at)::bigint
    WHERE id = ANY(sqlc.arg(ids)::bigint[]) AND used_at < sqlc.arg(used_at)::bigint
)
INSERT INTO keyfold_words (id, word, used_at)
SELECT unnest(sqlc.arg(ids)::bigint[]), unnest(sqlc.arg(words)::text[]), sqlc.arg(used_at)::bigint
ON CONFLICT (id) DO NOTHING;

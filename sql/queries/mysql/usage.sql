-- The queries that differ between engines by no more than how a text is cast.
-- The character of outcomes at place n, from 0, is 1 where the outcome with number
-- n is wanted.

-- name: LatestHour :one
SELECT hour_at FROM keyfold_usage_hours
WHERE key_id = sqlc.arg(key_id) AND hour_at >= sqlc.arg(start_at) AND hour_at <= sqlc.arg(upto)
  AND SUBSTR(CAST(sqlc.arg(outcomes) AS CHAR), outcome + 1, 1) = '1'
ORDER BY hour_at DESC LIMIT 1;

-- name: EventsAll :many
SELECT * FROM keyfold_event_rows
WHERE at >= sqlc.arg(start_at) AND at <= sqlc.arg(upto) AND (at < sqlc.arg(before) OR seq < sqlc.arg(before_seq))
  AND SUBSTR(CAST(sqlc.arg(outcomes) AS CHAR), outcome + 1, 1) = '1'
ORDER BY at DESC, seq DESC LIMIT sqlc.arg(max_rows);

-- name: EventsOfKey :many
SELECT * FROM keyfold_event_rows
WHERE at >= sqlc.arg(start_at) AND at <= sqlc.arg(upto) AND (at < sqlc.arg(before) OR seq < sqlc.arg(before_seq))
  AND key_id = sqlc.arg(key_id) AND SUBSTR(CAST(sqlc.arg(outcomes) AS CHAR), outcome + 1, 1) = '1'
ORDER BY at DESC, seq DESC LIMIT sqlc.arg(max_rows);

-- name: EventsOfOwner :many
-- An EXISTS could be made a join that sorts all events of the time.
SELECT * FROM keyfold_event_rows e
WHERE at >= sqlc.arg(start_at) AND at <= sqlc.arg(upto) AND (at < sqlc.arg(before) OR seq < sqlc.arg(before_seq))
  AND SUBSTR(CAST(sqlc.arg(outcomes) AS CHAR), outcome + 1, 1) = '1'
  AND (SELECT k.owner_id FROM keyfold_keys k WHERE k.id = e.key_id) = sqlc.arg(owner_id)
ORDER BY at DESC, seq DESC LIMIT sqlc.arg(max_rows);

-- name: EventsOfUser :many
SELECT * FROM keyfold_event_rows e
WHERE at >= sqlc.arg(start_at) AND at <= sqlc.arg(upto) AND (at < sqlc.arg(before) OR seq < sqlc.arg(before_seq))
  AND SUBSTR(CAST(sqlc.arg(outcomes) AS CHAR), outcome + 1, 1) = '1'
  AND (SELECT k.user_id FROM keyfold_keys k WHERE k.id = e.key_id) = sqlc.arg(user_id)
ORDER BY at DESC, seq DESC LIMIT sqlc.arg(max_rows);

-- name: AddAudit :exec
INSERT INTO keyfold_audit (at, actor, ip, action, target, state_before, state_after, request_id)
VALUES (
    sqlc.arg(at), sqlc.arg(actor), sqlc.arg(ip), sqlc.arg(action), sqlc.arg(target),
    sqlc.arg(state_before), sqlc.arg(state_after), sqlc.arg(request_id)
);

-- name: AuditAll :many
SELECT * FROM keyfold_audit WHERE seq < sqlc.arg(before_seq) ORDER BY seq DESC LIMIT sqlc.arg(max_rows);

-- name: AuditByTarget :many
SELECT * FROM keyfold_audit
WHERE target = sqlc.arg(target) AND seq < sqlc.arg(before_seq)
ORDER BY seq DESC LIMIT sqlc.arg(max_rows);

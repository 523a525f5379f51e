-- name: SettingRow :one
SELECT * FROM keyfold_settings WHERE name = sqlc.arg(name);

-- name: InsertSetting :exec
INSERT INTO keyfold_settings (name, value) VALUES (sqlc.arg(name), sqlc.arg(value));

-- name: UpdateSetting :exec
UPDATE keyfold_settings SET value = sqlc.arg(value) WHERE name = sqlc.arg(name);

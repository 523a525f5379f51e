-- Users, their one-time tokens, and the attempts to log in.

CREATE TABLE keyfold_users (
    id                  TEXT    NOT NULL UNIQUE,
    username            TEXT    NOT NULL,
    username_key        TEXT    NOT NULL UNIQUE, -- the canonical name, or "-" and the id
    email               TEXT    NOT NULL,
    email_key           TEXT    NOT NULL UNIQUE, -- the canonical address, or "-" and the id
    email_verified_at   INTEGER,
    password_hash       TEXT    NOT NULL, -- empty if the user has no password
    password_version    INTEGER NOT NULL,
    password_changed_at INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    disabled_at         INTEGER,
    disabled_reason     TEXT    NOT NULL,
    keys_made           INTEGER NOT NULL, -- incremented when a key is added, so that adding a key waits for the deletion of the user
    version             INTEGER NOT NULL
) STRICT;

CREATE INDEX keyfold_users_created ON keyfold_users (created_at, id);

-- Empty for keys without a user.
ALTER TABLE keyfold_keys ADD COLUMN user_id TEXT NOT NULL DEFAULT '';

CREATE INDEX keyfold_keys_user ON keyfold_keys (user_id, created_at, id);

-- The use of a token deletes its row. token_sum is a hash of the token and its
-- purpose.
CREATE TABLE keyfold_one_times (
    token_sum        BLOB    NOT NULL PRIMARY KEY,
    purpose          INTEGER NOT NULL,
    user_id          TEXT    NOT NULL,
    password_version INTEGER NOT NULL,
    email_key        TEXT    NOT NULL,
    new_email        TEXT    NOT NULL,
    new_email_key    TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keyfold_one_times_user ON keyfold_one_times (user_id, purpose);
CREATE INDEX keyfold_one_times_expires ON keyfold_one_times (expires_at);

CREATE TABLE keyfold_throttles (
    name          TEXT    NOT NULL PRIMARY KEY,
    attempts      INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL, -- 0 if it never was
    expires_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL -- incremented to lock the row
) STRICT, WITHOUT ROWID;

CREATE INDEX keyfold_throttles_expires ON keyfold_throttles (expires_at);

-- The view also has user_enabled: whether the user of the key is enabled, or
-- NULL for a key without a user.
DROP VIEW keyfold_verify;

CREATE VIEW keyfold_verify AS
SELECT k.id, k.secret_alg, k.secret_pepper, k.secret_sum, k.prefix, k.environment, k.name, k.owner_id, k.tenant,
       k.scopes, k.networks, k.metadata, k.expires_at, k.idle_timeout, k.active_at, k.disabled_at, k.revoked_at,
       CASE WHEN k.idle_timeout > 0
            THEN (SELECT t.last_used_at FROM keyfold_key_totals t WHERE t.key_id = k.id) END AS last_used_at,
       k.user_id,
       CASE WHEN k.user_id <> ''
            THEN (SELECT COUNT(*) FROM keyfold_users u WHERE u.id = k.user_id AND u.disabled_at IS NULL) END AS user_enabled
FROM keyfold_keys k;

-- user_enabled has the same meaning as in keyfold_verify.
DROP VIEW keyfold_key_rows;

CREATE VIEW keyfold_key_rows AS
SELECT k.*, COALESCE(t.uses, 0) AS uses, COALESCE(t.last_used_at, 0) AS last_used_at,
       CASE WHEN k.user_id = '' THEN NULL
            WHEN u.id IS NOT NULL AND u.disabled_at IS NULL THEN 1
            ELSE 0 END AS user_enabled
FROM keyfold_keys k
LEFT JOIN keyfold_key_totals t ON t.key_id = k.id
LEFT JOIN keyfold_users u ON u.id = k.user_id;

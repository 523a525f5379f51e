-- Users, their one-time tokens, and the attempts to log in.
-- Each statement is safe to repeat. The migration ignores errors about columns
-- and indexes that already exist.

CREATE TABLE IF NOT EXISTS keyfold_users (
    id                  VARBINARY(128)  NOT NULL PRIMARY KEY,
    username            VARBINARY(256)  NOT NULL,
    username_key        VARBINARY(256)  NOT NULL, -- the canonical name, or "-" and the id
    email               VARBINARY(512)  NOT NULL,
    email_key           VARBINARY(512)  NOT NULL, -- the canonical address, or "-" and the id
    email_verified_at   BIGINT,
    password_hash       VARBINARY(512)  NOT NULL, -- empty if the user has no password
    password_version    BIGINT          NOT NULL,
    password_changed_at BIGINT,
    created_at          BIGINT          NOT NULL,
    updated_at          BIGINT          NOT NULL,
    disabled_at         BIGINT,
    disabled_reason     VARBINARY(1024) NOT NULL,
    keys_made           BIGINT          NOT NULL, -- incremented when a key is added, so that adding a key waits for the deletion of the user
    version             BIGINT          NOT NULL,
    UNIQUE INDEX keyfold_users_username (username_key),
    UNIQUE INDEX keyfold_users_email (email_key),
    INDEX keyfold_users_created (created_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Empty for keys without a user.
ALTER TABLE keyfold_keys ADD COLUMN user_id VARBINARY(128) NOT NULL DEFAULT '';

CREATE INDEX keyfold_keys_user ON keyfold_keys (user_id, created_at, id);

-- The use of a token deletes its row. token_sum is a hash of the token and its
-- purpose.
CREATE TABLE IF NOT EXISTS keyfold_one_times (
    token_sum        BINARY(32)     NOT NULL PRIMARY KEY,
    purpose          BIGINT         NOT NULL,
    user_id          VARBINARY(128) NOT NULL,
    password_version BIGINT         NOT NULL,
    email_key        VARBINARY(512) NOT NULL,
    new_email        VARBINARY(512) NOT NULL,
    new_email_key    VARBINARY(512) NOT NULL,
    created_at       BIGINT         NOT NULL,
    expires_at       BIGINT         NOT NULL,
    INDEX keyfold_one_times_user (user_id, purpose),
    INDEX keyfold_one_times_expires (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS keyfold_throttles (
    name          VARBINARY(128) NOT NULL PRIMARY KEY,
    attempts      BIGINT         NOT NULL,
    blocked_until BIGINT         NOT NULL, -- 0 if it never was
    expires_at    BIGINT         NOT NULL,
    version       BIGINT         NOT NULL, -- incremented to lock the row
    INDEX keyfold_throttles_expires (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- The view also has user_enabled: whether the user of the key is enabled, or
-- NULL for a key without a user.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW keyfold_verify AS
SELECT k.id, k.secret_alg, k.secret_pepper, k.secret_sum, k.prefix, k.environment, k.name, k.owner_id, k.tenant,
       k.scopes, k.networks, k.metadata, k.expires_at, k.idle_timeout, k.active_at, k.disabled_at, k.revoked_at,
       CASE WHEN k.idle_timeout > 0
            THEN (SELECT t.last_used_at FROM keyfold_key_totals t WHERE t.key_id = k.id) END AS last_used_at,
       k.user_id,
       CASE WHEN k.user_id <> ''
            THEN (SELECT COUNT(*) FROM keyfold_users u WHERE u.id = k.user_id AND u.disabled_at IS NULL) END AS user_enabled
FROM keyfold_keys k;

-- user_enabled has the same meaning as in keyfold_verify. A subquery in the place of the join would keep MySQL from merging the view.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW keyfold_key_rows AS
SELECT k.*, COALESCE(t.uses, 0) AS uses, COALESCE(t.last_used_at, 0) AS last_used_at,
       CASE WHEN k.user_id = '' THEN NULL
            WHEN u.id IS NOT NULL AND u.disabled_at IS NULL THEN 1
            ELSE 0 END AS user_enabled
FROM keyfold_keys k
LEFT JOIN keyfold_key_totals t ON t.key_id = k.id
LEFT JOIN keyfold_users u ON u.id = k.user_id;

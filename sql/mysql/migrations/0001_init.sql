-- Times are Unix milliseconds. Text is never NULL; absent text is empty.
-- Text is VARBINARY, because in every collation of MySQL some different strings
-- are equal. MySQL commits each statement by itself, so it must be safe to
-- repeat: statements that ran before a crash run again.

-- One row: the version of the schema, the oldest version whose processes may
-- use it, the ID of the feed, and the highest number that has been pruned.
CREATE TABLE IF NOT EXISTS keyfold_meta (
    id             BIGINT        NOT NULL PRIMARY KEY,
    schema_version BIGINT        NOT NULL,
    oldest_version BIGINT        NOT NULL,
    feed_id        VARBINARY(64) NOT NULL,
    pruned_seq     BIGINT        NOT NULL,
    pruned_tx      BIGINT        NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Short texts that all processes share: the check values of peppers, and the
-- key rules of the program.
CREATE TABLE IF NOT EXISTS keyfold_settings (
    name  VARBINARY(128) NOT NULL PRIMARY KEY,
    value MEDIUMBLOB     NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS keyfold_keys (
    id              VARBINARY(128)   NOT NULL PRIMARY KEY,
    secret_alg      VARBINARY(32)    NOT NULL,
    secret_pepper   VARBINARY(128)   NOT NULL,
    secret_sum      BINARY(32)       NOT NULL,
    hint            VARBINARY(128)   NOT NULL,
    prefix          VARBINARY(128)   NOT NULL,
    environment     VARBINARY(128)   NOT NULL,
    name            VARBINARY(512)   NOT NULL,
    notes           VARBINARY(2048)  NOT NULL,
    owner_id        VARBINARY(128)   NOT NULL,
    user_id         VARBINARY(128)   NOT NULL, -- empty for keys without a user
    tenant          VARBINARY(128)   NOT NULL,
    scopes          VARBINARY(8256)  NOT NULL, -- separated by one space
    networks        VARBINARY(4096)  NOT NULL, -- separated by one space
    metadata        VARBINARY(32768) NOT NULL, -- a JSON object, or empty
    created_at      BIGINT           NOT NULL,
    updated_at      BIGINT           NOT NULL,
    expires_at      BIGINT,
    idle_timeout    BIGINT           NOT NULL, -- milliseconds, 0 for none
    active_at       BIGINT           NOT NULL,
    disabled_at     BIGINT,
    disabled_reason VARBINARY(1024)  NOT NULL,
    revoked_at      BIGINT,
    revoked_reason  VARBINARY(1024)  NOT NULL,
    lineage_id      VARBINARY(128)   NOT NULL,
    rotated_from    VARBINARY(128)   NOT NULL,
    rotated_to      VARBINARY(128)   NOT NULL,
    version         BIGINT           NOT NULL,
    INDEX keyfold_keys_created (created_at, id),
    INDEX keyfold_keys_owner (owner_id, created_at, id),
    INDEX keyfold_keys_tenant (tenant, created_at, id),
    INDEX keyfold_keys_user (user_id, created_at, id),
    INDEX keyfold_keys_expires (expires_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Apart from the keys, so that counting never contends with editing. A key has
-- its row from creation to deletion. last_used_at is 0 for a key never used.
CREATE TABLE IF NOT EXISTS keyfold_key_totals (
    key_id       VARBINARY(128) NOT NULL PRIMARY KEY,
    uses         BIGINT         NOT NULL,
    last_used_at BIGINT         NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- A row holds many usage events, which store/internal/usageblock encodes. The id is
-- the time of the last event and 15 random bits. span is the time from the first
-- event to the last, below one hour. There is no other index, so that inserts are
-- fast; keyfold_usage_hours shows in which hours a key has events.
CREATE TABLE IF NOT EXISTS keyfold_usage_blocks (
    id     BIGINT     NOT NULL PRIMARY KEY,
    span   BIGINT     NOT NULL,
    events INTEGER    NOT NULL,
    body   MEDIUMBLOB NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Routes and user agents, each stored once. The id is taken from the hash of
-- the word. No event that names the word is later than used_at.
CREATE TABLE IF NOT EXISTS keyfold_words (
    id      BIGINT          NOT NULL PRIMARY KEY,
    word    VARBINARY(1024) NOT NULL,
    used_at BIGINT          NOT NULL,
    INDEX keyfold_words_used (used_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- The rows of the key '' are the sums over all keys, and the refusals that no
-- key can be held to.
CREATE TABLE IF NOT EXISTS keyfold_usage_hours (
    key_id  VARBINARY(128) NOT NULL,
    hour_at BIGINT         NOT NULL,
    outcome INTEGER        NOT NULL,
    uses    BIGINT         NOT NULL,
    PRIMARY KEY (key_id, hour_at, outcome),
    INDEX keyfold_usage_hours_at (hour_at, key_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Which batches of usage have been applied.
CREATE TABLE IF NOT EXISTS keyfold_batches (
    recorder_id VARBINARY(128) NOT NULL,
    batch_no    BIGINT         NOT NULL,
    at          BIGINT         NOT NULL,
    PRIMARY KEY (recorder_id, batch_no),
    INDEX keyfold_batches_at (at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- seq is assigned before a transaction commits, so it does not have the order of
-- commits, and readers look for missing numbers again. The comment in the
-- options is for TiDB, whose servers would otherwise assign numbers from
-- different ranges. Only PostgreSQL uses tx.
CREATE TABLE IF NOT EXISTS keyfold_changes (
    seq        BIGINT         NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tx         BIGINT         NOT NULL,
    at         BIGINT         NOT NULL,
    action     VARBINARY(64)  NOT NULL,
    target     VARBINARY(128) NOT NULL,
    INDEX keyfold_changes_at (at, seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 /*T![auto_id_cache] AUTO_ID_CACHE 1 */;

CREATE TABLE IF NOT EXISTS keyfold_audit (
    seq          BIGINT         NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at           BIGINT         NOT NULL,
    actor        VARBINARY(512) NOT NULL,
    ip           VARBINARY(64)  NOT NULL,
    action       VARBINARY(64)  NOT NULL,
    target       VARBINARY(128) NOT NULL,
    state_before MEDIUMBLOB     NOT NULL,
    state_after  MEDIUMBLOB     NOT NULL,
    request_id   VARBINARY(256) NOT NULL,
    INDEX keyfold_audit_target (target, seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

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

-- The data that a verify needs. The CASE reads the totals only for keys with an
-- idle timeout; a join would always read them. user_enabled is
-- whether the user of the key is enabled, or NULL for a key without a user. Views run with the rights of the
-- caller, because the account that migrated may be deleted later.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW keyfold_verify AS
SELECT k.id, k.secret_alg, k.secret_pepper, k.secret_sum, k.prefix, k.environment, k.name, k.owner_id, k.tenant,
       k.scopes, k.networks, k.metadata, k.expires_at, k.idle_timeout, k.active_at, k.disabled_at, k.revoked_at,
       CASE WHEN k.idle_timeout > 0
            THEN (SELECT t.last_used_at FROM keyfold_key_totals t WHERE t.key_id = k.id) END AS last_used_at,
       k.user_id,
       CASE WHEN k.user_id <> ''
            THEN (SELECT COUNT(*) FROM keyfold_users u WHERE u.id = k.user_id AND u.disabled_at IS NULL) END AS user_enabled
FROM keyfold_keys k;

-- A subquery in the place of the join would keep MySQL from merging the view.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW keyfold_key_rows AS
SELECT k.*, COALESCE(t.uses, 0) AS uses, COALESCE(t.last_used_at, 0) AS last_used_at,
       CASE WHEN k.user_id = '' THEN NULL
            WHEN u.id IS NOT NULL AND u.disabled_at IS NULL THEN 1
            ELSE 0 END AS user_enabled
FROM keyfold_keys k
LEFT JOIN keyfold_key_totals t ON t.key_id = k.id
LEFT JOIN keyfold_users u ON u.id = k.user_id;

-- Blocks without their bodies.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW keyfold_usage_block_heads AS
SELECT id, span, events FROM keyfold_usage_blocks;

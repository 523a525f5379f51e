-- Times are Unix milliseconds. Text is never NULL; absent text is empty.

-- One row: the version of the schema, the oldest version whose processes may
-- use it, the ID of the feed, and the highest number that has been pruned.
CREATE TABLE keyfold_meta (
    id             INTEGER NOT NULL PRIMARY KEY,
    schema_version INTEGER NOT NULL,
    oldest_version INTEGER NOT NULL,
    feed_id        TEXT    NOT NULL,
    pruned_seq     INTEGER NOT NULL,
    pruned_tx      INTEGER NOT NULL
) STRICT;

-- Short texts that all processes share: the check values of peppers, and the
-- key rules of the program.
CREATE TABLE keyfold_settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- This table has a rowid, because a table WITHOUT ROWID is slower with long
-- metadata.
CREATE TABLE keyfold_keys (
    id              TEXT    NOT NULL UNIQUE,
    secret_alg      TEXT    NOT NULL,
    secret_pepper   TEXT    NOT NULL,
    secret_sum      BLOB    NOT NULL,
    hint            TEXT    NOT NULL,
    prefix          TEXT    NOT NULL,
    environment     TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    notes           TEXT    NOT NULL,
    owner_id        TEXT    NOT NULL,
    user_id         TEXT    NOT NULL, -- empty for keys without a user
    tenant          TEXT    NOT NULL,
    scopes          TEXT    NOT NULL, -- separated by one space
    networks        TEXT    NOT NULL, -- separated by one space
    metadata        TEXT    NOT NULL, -- a JSON object, or empty
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    idle_timeout    INTEGER NOT NULL, -- milliseconds, 0 for none
    active_at       INTEGER NOT NULL,
    disabled_at     INTEGER,
    disabled_reason TEXT    NOT NULL,
    revoked_at      INTEGER,
    revoked_reason  TEXT    NOT NULL,
    lineage_id      TEXT    NOT NULL,
    rotated_from    TEXT    NOT NULL,
    rotated_to      TEXT    NOT NULL,
    version         INTEGER NOT NULL
) STRICT;

CREATE INDEX keyfold_keys_created ON keyfold_keys (created_at, id);
CREATE INDEX keyfold_keys_owner ON keyfold_keys (owner_id, created_at, id);
CREATE INDEX keyfold_keys_tenant ON keyfold_keys (tenant, created_at, id);
CREATE INDEX keyfold_keys_user ON keyfold_keys (user_id, created_at, id);
CREATE INDEX keyfold_keys_expires ON keyfold_keys (expires_at, id);

-- Apart from the keys, so that counting never contends with editing. A key has
-- its row from creation to deletion. last_used_at is 0 for a key never used.
CREATE TABLE keyfold_key_totals (
    key_id       TEXT    NOT NULL PRIMARY KEY,
    uses         INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row holds many usage events, which store/internal/usageblock encodes. The id is
-- the time of the last event and 15 random bits. span is the time from the first
-- event to the last, below one hour. There is no other index, so that inserts are
-- fast; keyfold_usage_hours shows in which hours a key has events.
CREATE TABLE keyfold_usage_blocks (
    id     INTEGER NOT NULL PRIMARY KEY,
    span   INTEGER NOT NULL,
    events INTEGER NOT NULL,
    body   BLOB    NOT NULL
) STRICT;

-- Routes and user agents, each stored once. The id is taken from the hash of
-- the word. No event that names the word is later than used_at.
CREATE TABLE keyfold_words (
    id      INTEGER NOT NULL PRIMARY KEY,
    word    TEXT    NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

CREATE INDEX keyfold_words_used ON keyfold_words (used_at, id);

-- The rows of the key '' are the sums over all keys, and the refusals that no
-- key can be held to.
CREATE TABLE keyfold_usage_hours (
    key_id  TEXT    NOT NULL,
    hour_at INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    uses    INTEGER NOT NULL,
    PRIMARY KEY (key_id, hour_at, outcome)
) STRICT, WITHOUT ROWID;

CREATE INDEX keyfold_usage_hours_at ON keyfold_usage_hours (hour_at, key_id);

-- Which batches of usage have been applied.
CREATE TABLE keyfold_batches (
    recorder_id TEXT    NOT NULL,
    batch_no    INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (recorder_id, batch_no)
) STRICT, WITHOUT ROWID;

CREATE INDEX keyfold_batches_at ON keyfold_batches (at);

-- With AUTOINCREMENT, an emptied table does not restart at 1. A process with an
-- older cursor would miss changes otherwise. Only PostgreSQL uses tx.
CREATE TABLE keyfold_changes (
    seq        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tx         INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    target     TEXT    NOT NULL
) STRICT;

CREATE INDEX keyfold_changes_at ON keyfold_changes (at, seq);

CREATE TABLE keyfold_audit (
    seq          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    ip           TEXT    NOT NULL,
    action       TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    state_before TEXT    NOT NULL,
    state_after  TEXT    NOT NULL,
    request_id   TEXT    NOT NULL
) STRICT;

CREATE INDEX keyfold_audit_target ON keyfold_audit (target, seq);

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

-- The data that a verify needs. The CASE reads the totals only for keys with an
-- idle timeout; a join would always read them. user_enabled is
-- whether the user of the key is enabled, or NULL for a key without a user.
CREATE VIEW keyfold_verify AS
SELECT k.id, k.secret_alg, k.secret_pepper, k.secret_sum, k.prefix, k.environment, k.name, k.owner_id, k.tenant,
       k.scopes, k.networks, k.metadata, k.expires_at, k.idle_timeout, k.active_at, k.disabled_at, k.revoked_at,
       CASE WHEN k.idle_timeout > 0
            THEN (SELECT t.last_used_at FROM keyfold_key_totals t WHERE t.key_id = k.id) END AS last_used_at,
       k.user_id,
       CASE WHEN k.user_id <> ''
            THEN (SELECT COUNT(*) FROM keyfold_users u WHERE u.id = k.user_id AND u.disabled_at IS NULL) END AS user_enabled
FROM keyfold_keys k;

CREATE VIEW keyfold_key_rows AS
SELECT k.*, COALESCE(t.uses, 0) AS uses, COALESCE(t.last_used_at, 0) AS last_used_at,
       CASE WHEN k.user_id = '' THEN NULL
            WHEN u.id IS NOT NULL AND u.disabled_at IS NULL THEN 1
            ELSE 0 END AS user_enabled
FROM keyfold_keys k
LEFT JOIN keyfold_key_totals t ON t.key_id = k.id
LEFT JOIN keyfold_users u ON u.id = k.user_id;

-- Blocks without their bodies.
CREATE VIEW keyfold_usage_block_heads AS
SELECT id, span, events FROM keyfold_usage_blocks;

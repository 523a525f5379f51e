-- Times are Unix milliseconds. Text is never NULL; absent text is empty.

-- One row: the version of the schema, the oldest version whose processes may
-- use it, the ID of the feed, and the highest number that has been pruned.
CREATE TABLE keyfold_meta (
    id             BIGINT           NOT NULL PRIMARY KEY,
    schema_version BIGINT           NOT NULL,
    oldest_version BIGINT           NOT NULL,
    feed_id        TEXT COLLATE "C" NOT NULL,
    pruned_seq     BIGINT           NOT NULL,
    pruned_tx      BIGINT           NOT NULL
);

-- Short texts that all processes share: the check values of peppers, and the
-- key rules of the program.
CREATE TABLE keyfold_settings (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

CREATE TABLE keyfold_keys (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_alg      TEXT COLLATE "C" NOT NULL,
    secret_pepper   TEXT COLLATE "C" NOT NULL,
    secret_sum      BYTEA            NOT NULL,
    hint            TEXT COLLATE "C" NOT NULL,
    prefix          TEXT COLLATE "C" NOT NULL,
    environment     TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    notes           TEXT COLLATE "C" NOT NULL,
    owner_id        TEXT COLLATE "C" NOT NULL,
    user_id         TEXT COLLATE "C" NOT NULL, -- empty for keys without a user
    tenant          TEXT COLLATE "C" NOT NULL,
    scopes          TEXT COLLATE "C" NOT NULL, -- separated by one space
    networks        TEXT COLLATE "C" NOT NULL, -- separated by one space
    metadata        TEXT COLLATE "C" NOT NULL, -- a JSON object, or empty
    created_at      BIGINT           NOT NULL,
    updated_at      BIGINT           NOT NULL,
    expires_at      BIGINT,
    idle_timeout    BIGINT           NOT NULL, -- milliseconds, 0 for none
    active_at       BIGINT           NOT NULL,
    disabled_at     BIGINT,
    disabled_reason TEXT COLLATE "C" NOT NULL,
    revoked_at      BIGINT,
    revoked_reason  TEXT COLLATE "C" NOT NULL,
    lineage_id      TEXT COLLATE "C" NOT NULL,
    rotated_from    TEXT COLLATE "C" NOT NULL,
    rotated_to      TEXT COLLATE "C" NOT NULL,
    version         BIGINT           NOT NULL
);

CREATE INDEX keyfold_keys_created ON keyfold_keys (created_at, id);
CREATE INDEX keyfold_keys_owner ON keyfold_keys (owner_id, created_at, id);
CREATE INDEX keyfold_keys_tenant ON keyfold_keys (tenant, created_at, id);
CREATE INDEX keyfold_keys_user ON keyfold_keys (user_id, created_at, id);
CREATE INDEX keyfold_keys_expires ON keyfold_keys (expires_at, id);

-- Apart from the keys, so that counting never contends with editing. A key has
-- its row from creation to deletion. last_used_at is 0 for a key never used.
-- Rows that are counted in leave room on their page, so that a new version of
-- them lies on it too and no index has to be told.
CREATE TABLE keyfold_key_totals (
    key_id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    uses         BIGINT           NOT NULL,
    last_used_at BIGINT           NOT NULL
) WITH (fillfactor = 70);

-- A row holds many usage events, which store/internal/usageblock encodes. The id is
-- the time of the last event and 15 random bits. span is the time from the first
-- event to the last, below one hour. There is no other index, so that inserts are
-- fast; keyfold_usage_hours shows in which hours a key has events.
CREATE TABLE keyfold_usage_blocks (
    id     BIGINT  NOT NULL PRIMARY KEY,
    span   BIGINT  NOT NULL,
    events INTEGER NOT NULL,
    body   BYTEA   NOT NULL
);

-- Compression would save nothing on the bodies, which are packed numbers.
ALTER TABLE keyfold_usage_blocks ALTER COLUMN body SET STORAGE EXTERNAL;

-- Routes and user agents, each stored once. The id is taken from the hash of
-- the word. No event that names the word is later than used_at.
CREATE TABLE keyfold_words (
    id      BIGINT           NOT NULL PRIMARY KEY,
    word    TEXT COLLATE "C" NOT NULL,
    used_at BIGINT           NOT NULL
);

CREATE INDEX keyfold_words_used ON keyfold_words (used_at, id);

-- The rows of the key '' are the sums over all keys, and the refusals that no
-- key can be held to.
CREATE TABLE keyfold_usage_hours (
    key_id  TEXT COLLATE "C" NOT NULL,
    hour_at BIGINT           NOT NULL,
    outcome INTEGER          NOT NULL,
    uses    BIGINT           NOT NULL,
    PRIMARY KEY (key_id, hour_at, outcome)
) WITH (fillfactor = 70);

CREATE INDEX keyfold_usage_hours_at ON keyfold_usage_hours (hour_at, key_id);

-- Which batches of usage have been applied.
CREATE TABLE keyfold_batches (
    recorder_id TEXT COLLATE "C" NOT NULL,
    batch_no    BIGINT           NOT NULL,
    at          BIGINT           NOT NULL,
    PRIMARY KEY (recorder_id, batch_no)
);

CREATE INDEX keyfold_batches_at ON keyfold_batches (at);

-- seq is assigned before a transaction commits, so it does not have the order of
-- commits. tx is the ID of the transaction, which is compared with a snapshot.
CREATE TABLE keyfold_changes (
    seq    BIGINT           NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx     BIGINT           NOT NULL,
    at     BIGINT           NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL
);

CREATE INDEX keyfold_changes_tx ON keyfold_changes (tx);
CREATE INDEX keyfold_changes_at ON keyfold_changes (at, seq);

CREATE TABLE keyfold_audit (
    seq          BIGINT           NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           BIGINT           NOT NULL,
    actor        TEXT COLLATE "C" NOT NULL,
    ip           TEXT COLLATE "C" NOT NULL,
    action       TEXT COLLATE "C" NOT NULL,
    target       TEXT COLLATE "C" NOT NULL,
    state_before TEXT COLLATE "C" NOT NULL,
    state_after  TEXT COLLATE "C" NOT NULL,
    request_id   TEXT COLLATE "C" NOT NULL
);

CREATE INDEX keyfold_audit_target ON keyfold_audit (target, seq);

CREATE TABLE keyfold_users (
    id                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    username            TEXT COLLATE "C" NOT NULL,
    username_key        TEXT COLLATE "C" NOT NULL UNIQUE, -- the canonical name, or "-" and the id
    email               TEXT COLLATE "C" NOT NULL,
    email_key           TEXT COLLATE "C" NOT NULL UNIQUE, -- the canonical address, or "-" and the id
    email_verified_at   BIGINT,
    password_hash       TEXT COLLATE "C" NOT NULL, -- empty if the user has no password
    password_version    BIGINT           NOT NULL,
    password_changed_at BIGINT,
    created_at          BIGINT           NOT NULL,
    updated_at          BIGINT           NOT NULL,
    disabled_at         BIGINT,
    disabled_reason     TEXT COLLATE "C" NOT NULL,
    keys_made           BIGINT           NOT NULL, -- incremented when a key is added, so that adding a key waits for the deletion of the user
    version             BIGINT           NOT NULL
);

CREATE INDEX keyfold_users_created ON keyfold_users (created_at, id);

-- The use of a token deletes its row. token_sum is a hash of the token and its
-- purpose.
CREATE TABLE keyfold_one_times (
    token_sum        BYTEA            NOT NULL PRIMARY KEY,
    purpose          BIGINT           NOT NULL,
    user_id          TEXT COLLATE "C" NOT NULL,
    password_version BIGINT           NOT NULL,
    email_key        TEXT COLLATE "C" NOT NULL,
    new_email        TEXT COLLATE "C" NOT NULL,
    new_email_key    TEXT COLLATE "C" NOT NULL,
    created_at       BIGINT           NOT NULL,
    expires_at       BIGINT           NOT NULL
);

CREATE INDEX keyfold_one_times_user ON keyfold_one_times (user_id, purpose);
CREATE INDEX keyfold_one_times_expires ON keyfold_one_times (expires_at);

CREATE TABLE keyfold_throttles (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    attempts      BIGINT           NOT NULL,
    blocked_until BIGINT           NOT NULL, -- 0 if it never was
    expires_at    BIGINT           NOT NULL,
    version       BIGINT           NOT NULL -- incremented to lock the row
);

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

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

-- No index but the primary key: inserts have to stay fast. Events of one key
-- are found by way of keyfold_usage_hours.
CREATE TABLE keyfold_usage_events (
    at         BIGINT           NOT NULL,
    seq        BIGINT           NOT NULL,
    route_id   BIGINT           NOT NULL, -- a word, or 0
    agent_id   BIGINT           NOT NULL, -- a word, or 0
    outcome    INTEGER          NOT NULL,
    key_id     TEXT COLLATE "C" NOT NULL,
    ip         TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (at, seq)
);

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

-- The data that a verify needs. The CASE reads the totals only for keys with an
-- idle timeout; a join would always read them.
CREATE VIEW keyfold_verify AS
SELECT k.id, k.secret_alg, k.secret_pepper, k.secret_sum, k.prefix, k.environment, k.name, k.owner_id, k.tenant,
       k.scopes, k.networks, k.metadata, k.expires_at, k.idle_timeout, k.active_at, k.disabled_at, k.revoked_at,
       CASE WHEN k.idle_timeout > 0
            THEN (SELECT t.last_used_at FROM keyfold_key_totals t WHERE t.key_id = k.id) END AS last_used_at
FROM keyfold_keys k;

CREATE VIEW keyfold_key_rows AS
SELECT k.*, COALESCE(t.uses, 0) AS uses, COALESCE(t.last_used_at, 0) AS last_used_at
FROM keyfold_keys k LEFT JOIN keyfold_key_totals t ON t.key_id = k.id;

CREATE VIEW keyfold_event_rows AS
SELECT e.at, e.seq, e.outcome, e.key_id, e.ip, e.request_id,
       COALESCE(r.word, '') AS route, COALESCE(a.word, '') AS agent
FROM keyfold_usage_events e
LEFT JOIN keyfold_words r ON r.id = e.route_id
LEFT JOIN keyfold_words a ON a.id = e.agent_id;

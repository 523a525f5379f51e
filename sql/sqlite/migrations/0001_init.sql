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
CREATE INDEX keyfold_keys_expires ON keyfold_keys (expires_at, id);

-- Apart from the keys, so that counting never contends with editing. A key has
-- its row from creation to deletion. last_used_at is 0 for a key never used.
CREATE TABLE keyfold_key_totals (
    key_id       TEXT    NOT NULL PRIMARY KEY,
    uses         INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- No index but the primary key: inserts have to stay fast. Events of one key
-- are found by way of keyfold_usage_hours.
CREATE TABLE keyfold_usage_events (
    at         INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    route_id   INTEGER NOT NULL, -- a word, or 0
    agent_id   INTEGER NOT NULL, -- a word, or 0
    outcome    INTEGER NOT NULL,
    key_id     TEXT    NOT NULL,
    ip         TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    PRIMARY KEY (at, seq)
) STRICT, WITHOUT ROWID;

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

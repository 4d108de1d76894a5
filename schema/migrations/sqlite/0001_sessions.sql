-- Sessions, their logs and who holds them. Written by the broker's writer task alone.
--
-- Ids are 16-byte UUIDs, times are microseconds since the Unix epoch (UTC), payloads are text that is stored and served
-- verbatim. Every table but the owner processes' belongs to a tenant.

-- Hot columns of a session: small, because each append rewrites the row.
CREATE TABLE sessions (
    number       INTEGER PRIMARY KEY,           -- this file's short name of the session; part of every event's position
    workspace_id BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    head         INTEGER NOT NULL,              -- number of the last event
    epoch        INTEGER NOT NULL,              -- of the last lease; never falls (I3)
    owner        BLOB,                          -- process that holds the session
    status       TEXT    NOT NULL,
    stop_reason  TEXT,
    turn         INTEGER NOT NULL,
    ready_at     INTEGER,                       -- may be claimed from then on
    attempts     INTEGER NOT NULL,              -- process deaths since the last progress (I15)
    quarantined  INTEGER NOT NULL,
    input_tokens                INTEGER NOT NULL,
    output_tokens               INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    cache_read_input_tokens     INTEGER NOT NULL,
    agent_id      BLOB    NOT NULL,
    agent_version INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    archived_at   INTEGER,
    deleted_at    INTEGER
) STRICT;

CREATE UNIQUE INDEX sessions_key ON sessions (workspace_id, id);
CREATE INDEX sessions_created ON sessions (workspace_id, created_at, id) WHERE deleted_at IS NULL;
-- What a claim scans; its condition must stand word for word in the query.
CREATE INDEX sessions_ready ON sessions (workspace_id, ready_at)
    WHERE ready_at IS NOT NULL AND owner IS NULL AND quarantined = 0 AND archived_at IS NULL AND deleted_at IS NULL;
CREATE INDEX sessions_held ON sessions (owner) WHERE owner IS NOT NULL;

-- Cold columns: what a session was made with and what clients own.
CREATE TABLE session_details (
    session        INTEGER PRIMARY KEY REFERENCES sessions (number),
    workspace_id   BLOB NOT NULL,
    agent          TEXT NOT NULL,
    environment_id BLOB NOT NULL,
    environment    TEXT NOT NULL,
    title          TEXT,
    metadata       TEXT NOT NULL,
    resources      TEXT NOT NULL,
    vault_ids      TEXT NOT NULL,
    budget         TEXT
) STRICT;

-- The log. `position` is `session << 32 | seq`: the table itself is ordered by session and seq, so replay is one range scan
-- and an append touches one leaf.
CREATE TABLE events (
    position     INTEGER PRIMARY KEY,
    session      INTEGER NOT NULL REFERENCES sessions (number),
    workspace_id BLOB    NOT NULL,
    seq          INTEGER NOT NULL,
    id           BLOB    NOT NULL,
    kind         TEXT    NOT NULL,
    turn         INTEGER NOT NULL,
    actor        TEXT,
    thread_id    TEXT,
    created_at   INTEGER NOT NULL,
    processed_at INTEGER,                       -- as in the payload; null for queued inputs, see `processed`
    awaits       TEXT,                          -- what a tool use waits for
    payload      TEXT    NOT NULL,
    private      TEXT
) STRICT;

-- Ids come first here and in the tables below: they grow with time, so what many sessions write at one moment shares a page.
CREATE UNIQUE INDEX events_id ON events (id, session);

-- A stored event never changes, and goes only with its whole (deleted) session (I1).
CREATE TRIGGER events_never_change BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
CREATE TRIGGER events_go_with_their_session BEFORE DELETE ON events
WHEN EXISTS (SELECT 1 FROM sessions WHERE number = OLD.session AND deleted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

-- When queued inputs entered the context; `by_seq` is the event that said so (a fork copies up to a seq).
CREATE TABLE processed (
    session      INTEGER NOT NULL REFERENCES sessions (number),
    event_id     BLOB    NOT NULL,
    workspace_id BLOB    NOT NULL,
    at           INTEGER NOT NULL,
    by_seq       INTEGER NOT NULL,
    PRIMARY KEY (event_id, session)
) STRICT, WITHOUT ROWID;

-- One answer of each way per tool use.
CREATE TABLE answers (
    session      INTEGER NOT NULL REFERENCES sessions (number),
    event_id     BLOB    NOT NULL,
    way          TEXT    NOT NULL,
    workspace_id BLOB    NOT NULL,
    seq          INTEGER NOT NULL,
    PRIMARY KEY (event_id, session, way)
) STRICT, WITHOUT ROWID;

-- What became of each append: an ambiguous commit is looked up here (I2).
CREATE TABLE appends (
    session      INTEGER NOT NULL REFERENCES sessions (number),
    append_id    BLOB    NOT NULL,
    workspace_id BLOB    NOT NULL,
    first_seq    INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    turn         INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (append_id, session)
) STRICT, WITHOUT ROWID;

-- Requests that may be repeated (I19), beside the effect they had.
CREATE TABLE idempotency (
    workspace_id BLOB    NOT NULL,
    scope        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    body_hash    TEXT    NOT NULL,
    session_id   BLOB    NOT NULL,
    first_seq    INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    turn         INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_at ON idempotency (at);

-- Processes that borrow sessions, and until when they are believed alive. They serve every tenant.
CREATE TABLE owners (
    owner      BLOB    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When each tenant was last served by a claim: the fair order among tenants.
CREATE TABLE claim_turns (
    workspace_id BLOB    PRIMARY KEY,
    served       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Webhooks: who is told of what happens, what they are still to be told, and how far each workspace was looked through. Owned by
-- the broker. Times are microseconds, ids are 16-byte UUIDs.
CREATE TABLE webhooks (
    workspace_id  BLOB    NOT NULL,
    id            BLOB    NOT NULL PRIMARY KEY,
    url           TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    events        TEXT    NOT NULL,              -- a JSON list; empty means all
    secret        TEXT    NOT NULL,              -- sealed
    disabled      TEXT,                          -- why it is told nothing
    since         INTEGER NOT NULL,              -- it is told what happened from then on
    failures      INTEGER NOT NULL,
    failing_since INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    revision      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX webhooks_by_age ON webhooks (workspace_id, created_at, id);

CREATE TABLE deliveries (
    workspace_id BLOB    NOT NULL,
    webhook_id   BLOB    NOT NULL,
    id           BLOB    NOT NULL PRIMARY KEY,
    event        TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    status       INTEGER,
    outcome      TEXT,
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (webhook_id) WHERE state = 'pending';
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE state <> 'pending';
CREATE INDEX deliveries_by_age ON deliveries (workspace_id, webhook_id, created_at DESC, id DESC);

-- How far the changes of a workspace were looked through, and until when somebody is doing so.
CREATE TABLE webhook_watches (
    workspace_id BLOB    NOT NULL PRIMARY KEY,
    commit_at    INTEGER,
    position     INTEGER,
    leased_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far a session's log was.
CREATE TABLE webhook_heads (
    workspace_id BLOB    NOT NULL,
    session_id   BLOB    NOT NULL,
    seq          INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, session_id)
) STRICT, WITHOUT ROWID;

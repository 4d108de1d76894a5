-- The work that is queued for the workers of self-hosted environments. Owned by the broker. Times are microseconds, ids are 16-byte UUIDs.
CREATE TABLE work (
    workspace_id      BLOB    NOT NULL,
    environment_id    BLOB    NOT NULL,
    id                BLOB    NOT NULL PRIMARY KEY,
    session_id        BLOB    NOT NULL,
    head              INTEGER NOT NULL,
    revision          INTEGER NOT NULL,          -- grows with every change; who changes a row names the one it saw
    state             TEXT    NOT NULL CHECK (state IN ('queued', 'starting', 'active', 'stopping', 'stopped')),
    token             BLOB    NOT NULL,          -- SHA-256 of the holder's token; empty before it was handed out
    key_id            BLOB,
    worker            TEXT,
    metadata          TEXT    NOT NULL,
    created_at        INTEGER NOT NULL,
    polled_at         INTEGER,
    acknowledged_at   INTEGER,
    started_at        INTEGER,
    beat_at           INTEGER,
    beat_before       INTEGER,
    lease_until       INTEGER,
    stop_requested_at INTEGER,
    stopped_at        INTEGER,
    CHECK ((state = 'stopped') = (stopped_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- A session has at most one that has not stopped.
CREATE UNIQUE INDEX work_of_session ON work (workspace_id, session_id) WHERE state <> 'stopped';
CREATE INDEX work_open ON work (workspace_id, environment_id, created_at, id) WHERE state <> 'stopped';
CREATE INDEX work_stopped ON work (workspace_id, environment_id, stopped_at) WHERE state = 'stopped';
CREATE INDEX work_by_age ON work (workspace_id, environment_id, created_at DESC, id DESC);

-- Who asked for work lately: only counted.
CREATE TABLE work_pollers (
    workspace_id   BLOB    NOT NULL,
    environment_id BLOB    NOT NULL,
    worker         TEXT    NOT NULL,
    seen_at        INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, environment_id, worker)
) STRICT, WITHOUT ROWID;

-- Sessions that rest for somebody's answer; the condition must stand word for word in the query.
CREATE INDEX sessions_waiting ON sessions (workspace_id, created_at, id)
    WHERE stop_reason ->> 'type' = 'requires_action' AND archived_at IS NULL AND deleted_at IS NULL;

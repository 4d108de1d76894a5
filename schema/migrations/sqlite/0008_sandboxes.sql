-- Sandboxes: machines made for one session, each with an executor in it. Times are microseconds, ids are 16-byte UUIDs. Changed by
-- the broker's writer task alone.
CREATE TABLE sandboxes (
    changed_at   INTEGER NOT NULL,
    revision     INTEGER NOT NULL DEFAULT 0, -- grows with every change of the state
    workspace_id BLOB    NOT NULL,
    session_id   BLOB    NOT NULL,
    executor_id  BLOB    NOT NULL,
    instance     BLOB    NOT NULL,           -- whose provisioner makes it
    state        TEXT    NOT NULL CHECK (state IN ('provisioning', 'ready', 'paused', 'gone', 'failed')),
    reason       TEXT,                       -- of a failure
    spec         TEXT    NOT NULL,
    PRIMARY KEY (executor_id)
) STRICT;

-- A session has one sandbox at a time.
CREATE UNIQUE INDEX sandboxes_live ON sandboxes (session_id)
    WHERE state IN ('provisioning', 'ready', 'paused');
CREATE INDEX sandboxes_by_instance ON sandboxes (instance);

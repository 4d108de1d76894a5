-- Sandboxes that one process wants and another one makes. Times and spans are microseconds.
CREATE TABLE sandboxes_of_many (
    changed_at   INTEGER NOT NULL,
    used_until   INTEGER NOT NULL DEFAULT 0, -- somebody uses it until then, unless it is said again
    revision     INTEGER NOT NULL DEFAULT 0, -- grows with every change of the state or the instance
    troubles     INTEGER NOT NULL DEFAULT 0, -- how often something was tried in vain
    workspace_id BLOB    NOT NULL,
    session_id   BLOB    NOT NULL,
    executor_id  BLOB    NOT NULL,
    instance     BLOB,                       -- whose provisioner makes it; null until one has taken it
    used_by      BLOB,                       -- the one process that uses it; null when several do
    state        TEXT    NOT NULL CHECK (state IN ('provisioning', 'ready', 'paused', 'gone', 'failed')),
    reason       TEXT,                       -- of a failure
    trouble      TEXT,                       -- the last time that something was tried in vain
    spec         TEXT    NOT NULL,
    PRIMARY KEY (executor_id)
) STRICT;

INSERT INTO sandboxes_of_many (changed_at, used_until, revision, workspace_id, session_id, executor_id, instance, state, reason, spec)
    SELECT changed_at, CAST(strftime('%s', 'now') AS INTEGER) * 1000000, revision, workspace_id, session_id, executor_id, instance,
        state, reason, spec FROM sandboxes;
DROP TABLE sandboxes;
ALTER TABLE sandboxes_of_many RENAME TO sandboxes;

-- A session has one sandbox at a time.
CREATE UNIQUE INDEX sandboxes_live ON sandboxes (session_id)
    WHERE state IN ('provisioning', 'ready', 'paused');
CREATE INDEX sandboxes_by_instance ON sandboxes (instance);

-- Processes that make them.
CREATE TABLE sandbox_hosts (
    seen_at    INTEGER NOT NULL,
    lost_after INTEGER NOT NULL, -- unseen for so long, it is lost with what it made
    instance   BLOB    NOT NULL, -- of its sandboxes
    node       BLOB    NOT NULL, -- the process
    home       TEXT    NOT NULL, -- machine and folder
    engine     TEXT,
    trouble    TEXT,
    defaults   TEXT    NOT NULL,
    PRIMARY KEY (instance)
) STRICT;

-- Sandboxes: machines made for one session, each with an executor in it. Times are microseconds.
CREATE TABLE sandboxes (
    changed_at   bigint  NOT NULL,
    revision     bigint  NOT NULL DEFAULT 0, -- grows with every change of the state
    workspace_id uuid    NOT NULL,
    session_id   uuid    NOT NULL,
    executor_id  uuid    NOT NULL PRIMARY KEY,
    instance     uuid    NOT NULL,           -- whose provisioner makes it
    state        text    NOT NULL CHECK (state IN ('provisioning', 'ready', 'paused', 'gone', 'failed')),
    reason       text,                       -- of a failure
    spec         text    NOT NULL
);

-- A session has one sandbox at a time.
CREATE UNIQUE INDEX sandboxes_live ON sandboxes (session_id)
    WHERE state IN ('provisioning', 'ready', 'paused');
CREATE INDEX sandboxes_by_instance ON sandboxes (instance);

-- The work that is queued for the workers of self-hosted environments. Owned by the broker. Times are microseconds.
CREATE TABLE work (
    workspace_id      uuid   NOT NULL,
    environment_id    uuid   NOT NULL,
    id                uuid   PRIMARY KEY,
    session_id        uuid   NOT NULL,
    head              bigint NOT NULL,
    revision          bigint NOT NULL,           -- grows with every change; who changes a row names the one it saw
    state             text   NOT NULL CHECK (state IN ('queued', 'starting', 'active', 'stopping', 'stopped')),
    token             bytea  NOT NULL,           -- SHA-256 of the holder's token; empty before it was handed out
    key_id            uuid,
    worker            text,
    metadata          text   NOT NULL,
    created_at        bigint NOT NULL,
    polled_at         bigint,
    acknowledged_at   bigint,
    started_at        bigint,
    beat_at           bigint,
    beat_before       bigint,
    lease_until       bigint,
    stop_requested_at bigint,
    stopped_at        bigint,
    CHECK ((state = 'stopped') = (stopped_at IS NOT NULL))
) WITH (fillfactor = 50);

-- A session has at most one that has not stopped.
CREATE UNIQUE INDEX work_of_session ON work (workspace_id, session_id) WHERE state <> 'stopped';
CREATE INDEX work_open ON work (workspace_id, environment_id, created_at, id) WHERE state <> 'stopped';
CREATE INDEX work_stopped ON work (workspace_id, environment_id, stopped_at) WHERE state = 'stopped';
CREATE INDEX work_by_age ON work (workspace_id, environment_id, created_at DESC, id DESC);

-- Who asked for work lately: only counted, and forgotten by a crash.
CREATE UNLOGGED TABLE work_pollers (
    workspace_id   uuid   NOT NULL,
    environment_id uuid   NOT NULL,
    worker         text   NOT NULL,
    seen_at        bigint NOT NULL,
    PRIMARY KEY (workspace_id, environment_id, worker)
) WITH (fillfactor = 50);

-- Sessions that rest for somebody's answer; the condition must stand word for word in the query.
CREATE INDEX sessions_waiting ON sessions (workspace_id, created_at, id)
    WHERE stop_reason::json ->> 'type' = 'requires_action' AND archived_at IS NULL AND deleted_at IS NULL;

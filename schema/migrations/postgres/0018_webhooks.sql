-- Webhooks: who is told of what happens, what they are still to be told, and how far each workspace was looked through. Owned by
-- the broker. Times are microseconds.
CREATE TABLE webhooks (
    workspace_id  uuid   NOT NULL,
    id            uuid   PRIMARY KEY,
    url           text   NOT NULL,
    description   text   NOT NULL,
    events        text   NOT NULL,              -- a JSON list; empty means all
    secret        text   NOT NULL,              -- sealed
    disabled      text,                          -- why it is told nothing
    since         bigint NOT NULL,              -- it is told what happened from then on
    failures      bigint NOT NULL,
    failing_since bigint,
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    revision      bigint NOT NULL
);

CREATE INDEX webhooks_by_age ON webhooks (workspace_id, created_at, id);

CREATE TABLE deliveries (
    workspace_id uuid   NOT NULL,
    webhook_id   uuid   NOT NULL,
    id           uuid   PRIMARY KEY,
    event        text   NOT NULL,
    kind         text   NOT NULL,
    body         text   NOT NULL,
    state        text   NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     bigint NOT NULL,
    due_at       bigint NOT NULL,
    status       bigint,
    outcome      text,
    created_at   bigint NOT NULL,
    ended_at     bigint
);

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (webhook_id) WHERE state = 'pending';
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE state <> 'pending';
CREATE INDEX deliveries_by_age ON deliveries (workspace_id, webhook_id, created_at DESC, id DESC);

-- How far the changes of a workspace were looked through, and until when somebody is doing so.
CREATE TABLE webhook_watches (
    workspace_id uuid   PRIMARY KEY,
    commit_at    bigint,
    position     bigint,
    leased_until bigint NOT NULL
);

-- How far a session's log was.
CREATE TABLE webhook_heads (
    workspace_id uuid   NOT NULL,
    session_id   uuid   NOT NULL,
    seq          bigint NOT NULL,
    PRIMARY KEY (workspace_id, session_id)
);
